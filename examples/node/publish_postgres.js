// An order and its event in one transaction: node publish_postgres.js URI ORDER-ID [fail]
const { Client } = require('pg');

async function placeOrder(client, orderId, fail) {
  await client.query('BEGIN');
  try {
    await client.query("INSERT INTO shop_order (id, status) VALUES ($1, 'placed')", [orderId]);
    await client.query(
      `INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
       VALUES ($1, $2, $3, $4, $5)`,
      ['order', orderId, 'OrderPlaced', JSON.stringify({ orderId }), JSON.stringify({ service: 'orders' })]);
    if (fail) throw new Error('the order failed, and so did its event');
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

async function main([uri, orderId, fail]) {
  const client = new Client({ connectionString: uri });
  await client.connect();
  await placeOrder(client, orderId, fail === 'fail').finally(() => client.end());
}

main(process.argv.slice(2)).catch((error) => { console.error(error.message); process.exitCode = 1; });
