/* SPDX-License-Identifier: MIT
 *
 * table.c -- table.h as data.
 */
#include <errno.h>

#include "faults.h"

const struct faults_function faults_functions[FAULTS_N_FUNCTIONS] = {
#define X(name, ...) { #name, { __VA_ARGS__ } },
#include "table.h"
#undef X
};
