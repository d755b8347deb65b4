// An order and its event in one transaction: node publish_sqlite.js FILE ORDER-ID [fail]
const Database = require('better-sqlite3');

function placeOrder(db, orderId, fail) {
  db.prepare("INSERT INTO shop_order (id, status) VALUES (?, 'placed')").run(orderId);
  db.prepare(
    `INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload, headers)
     VALUES (?, ?, ?, ?, ?)`
  ).run('order', orderId, 'OrderPlaced', JSON.stringify({ orderId }), JSON.stringify({ service: 'orders' }));
  if (fail) throw new Error('the order failed, and so did its event');
}

const [file, orderId, fail] = process.argv.slice(2);
const db = new Database(file, { timeout: 5000 });
// commits when the function returns, rolls back when it throws
db.transaction(placeOrder).immediate(db, orderId, fail === 'fail');
