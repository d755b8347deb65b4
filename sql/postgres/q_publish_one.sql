-- One event by the command line: $1 aggregate type, $2 aggregate id, $3 event type, $4 payload or NULL, $5 headers.
SELECT posthorn.publish(aggregate_type => $1, aggregate_id => $2, event_type => $3, payload => $4::jsonb,
                        headers => $5::jsonb)
