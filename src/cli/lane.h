/* One pipeline in threads of its own, so that a slow or dead sink holds nobody else up: one a
 * shard.
 */
#ifndef PH_CLI_LANE_H
#define PH_CLI_LANE_H

#include "config/settings.h"

struct ph_lane;

/* Starts threads that run the pipeline of settings, which must outlive the lane. ended_fd is an
 * eventfd, written once when they are over. An error means that there is none. */
int ph_lane_start(const struct ph_settings *settings, int ended_fd, struct ph_lane **ret,
                  struct ph_error *err) PH_MUST_CHECK;
/* Asks it to stop; it drains within its drain_timeout. */
void ph_lane_stop(struct ph_lane *lane);
/* Whether the threads are over, so that ph_lane_join does not wait. */
bool ph_lane_ended(const struct ph_lane *lane);
/* What its first shard did so far, readable until join; NULL before there is one. */
const struct ph_pipeline_metrics *ph_lane_metrics(const struct ph_lane *lane);
/* Waits for the threads, frees the lane, and returns what the pipeline ended with. */
int ph_lane_join(struct ph_lane *lane, struct ph_error *err);

#endif
