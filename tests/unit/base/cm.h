/* cmocka wants these four headers before its own; the tests of base include this. */
#ifndef PGUSHER_TESTS_UNIT_BASE_CM_H
#define PGUSHER_TESTS_UNIT_BASE_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
