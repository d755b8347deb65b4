/*
 * Tells the service manager how the daemon is: sd_notify(3)'s datagrams, without libsystemd. Where
 * no manager asked (NOTIFY_SOCKET is not set) every call succeeds and does nothing.
 */
#ifndef PH_BASE_NOTIFY_H
#define PH_BASE_NOTIFY_H

#include <stdint.h>

#include "base/err.h"

#define PH_NOTIFY_STATUS_MAX 256 /* bytes of a status that are sent */

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child
 * speaks for the daemon. Call it once, before the first thread. PH_E_CONFIG when the socket is
 * neither a path nor abstract ("@name"); then the other calls do nothing. */
int ph_notify_open(struct ph_error *err) PH_MUST_CHECK;

/* Each sends one datagram and waits at most a second for room: PH_E_IO when it was not taken. Safe
 * from any thread. */

/* The daemon does its work; also said when a reload is over. */
int ph_notify_ready(struct ph_error *err) PH_MUST_CHECK;
/* The configuration is being read anew; ph_notify_ready ends it. */
int ph_notify_reloading(struct ph_error *err) PH_MUST_CHECK;
int ph_notify_stopping(struct ph_error *err) PH_MUST_CHECK;
/* One line for `systemctl status`; line ends become spaces, a longer text is cut. No secrets. */
int ph_notify_status(const char *text, struct ph_error *err) PH_MUST_CHECK;

/* Microseconds within which the manager wants the next ph_notify_watchdog, 0 when it does not watch
 * this process. Say it at half of that. */
int64_t ph_notify_watchdog_us(void);
int ph_notify_watchdog(struct ph_error *err) PH_MUST_CHECK;

#endif
