// An order and its event in one transaction: go run . URI ORDER-ID [fail]
package main

import (
	"database/sql"
	"errors"
	"log"
	"os"

	_ "github.com/lib/pq"
)

func placeOrder(db *sql.DB, orderID string, fail bool) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	if _, err = tx.Exec("INSERT INTO shop_order (id, status) VALUES ($1, 'placed')", orderID); err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
		VALUES ($1, $2, $3, jsonb_build_object('orderId', $2::text), $4)`,
		"order", orderID, "OrderPlaced", `{"service": "orders"}`)
	if err != nil {
		return err
	}
	if fail {
		return errors.New("the order failed, and so did its event")
	}
	return tx.Commit()
}

func main() {
	db, err := sql.Open("postgres", os.Args[1])
	if err == nil {
		err = placeOrder(db, os.Args[2], len(os.Args) > 3 && os.Args[3] == "fail")
	}
	if err != nil {
		log.Fatal(err)
	}
}
