/* SPDX-License-Identifier: MIT
 *
 * calendar.h: days <-> proleptic Gregorian dates in 64-bit arithmetic, by eras of 400 years (146,097 days).
 * Day 0 is 2000-01-01, PostgreSQL's epoch. Year 0 is 1 BC.
 */
#ifndef FASTPG_CALENDAR_H
#define FASTPG_CALENDAR_H

#include <stdint.h>

/* Days from 0000-03-01 to 2000-01-01. */
#define FASTPG_EPOCH_SHIFT 730425

static inline int64_t days_from_civil(int64_t year, int month, int day) {
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - FASTPG_EPOCH_SHIFT;
}

static inline void civil_from_days(int64_t days, int64_t *year, int *month, int *day) {
    int64_t z = days + FASTPG_EPOCH_SHIFT;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

/* Floor division for a positive divisor. */
static inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* What that division leaves; a - floor_div(a, b) * b overflows near the smallest a. */
static inline int64_t floor_mod(int64_t a, int64_t b) { return a % b + (a % b < 0 ? b : 0); }

#endif
