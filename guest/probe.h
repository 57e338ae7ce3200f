/* What the two halves of the guest probe share: probe.c (control, beats, echo, power) and load.c (memory and disk load). */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ARGS = 8, ANSWER = 1024, PAGE = 4096 };

/* Writes one JSON answer; the format is printf's. */
void answer(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Writes {"ok":false,"error":what: strerror(code)}. */
void answer_error(char *out, const char *what, int code);
uint64_t now_ns(clockid_t clock);
/* The number in argument i, or the fallback when it is not given. */
uint64_t number(int argc, char **argv, int i, uint64_t fallback);
/* Serves the commands fill, dirty, checksum, victim and disk; 0 when the command is none of these. */
int load_command(int argc, char **argv, char *out);
/* Grows the file system on /disk to its device and counts this boot there, once; the count, 0 without a disk. */
uint64_t disk_begin(void);
/* Before power off: no write is under way after it. */
void disk_end(void);
