//! An order and its event in one transaction: cargo run -- URI ORDER-ID [fail]
use postgres::{Client, Error, NoTls};
use std::env;

fn place_order(client: &mut Client, order_id: &str, fail: bool) -> Result<(), Error> {
    let mut tx = client.transaction()?; // rolls back when it is dropped before its commit
    tx.execute("INSERT INTO shop_order (id, status) VALUES ($1, 'placed')", &[&order_id])?;
    tx.execute(
        "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
         VALUES ('order', $1, $2, jsonb_build_object('orderId', $1::text), jsonb_build_object('service', $3::text))",
        &[&order_id, &"OrderPlaced", &"orders"],
    )?;
    if fail {
        return tx.rollback(); // the order failed, and so did its event
    }
    tx.commit()
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = env::args().collect();
    let fail = args.get(3).map_or(false, |word| word == "fail");
    place_order(&mut Client::connect(&args[1], NoTls)?, &args[2], fail)
}
