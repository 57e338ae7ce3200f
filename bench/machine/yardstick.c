/*
 * The yardstick: one static program that measures processor, memory, disk and network in the same way wherever it runs, in a guest
 * or on its host. `yardstick agent HOST PORT NAME` connects, says its name, and answers one line of JSON to each line it reads:
 *
 *   cpu MS THREADS            {"ops": millions of rounds a second over all threads}
 *   memory MS                 {"bandwidth": MiB/s copied, "latency": ns of a read that nothing can foresee}
 *   disk MS FILE              {"sequential": MiB/s written, "random": synchronous 4 KiB writes a second}
 *   net MS HOST PORT          {"throughput": MiB/s sent, "p50": us of a round trip, "p99": us}
 *
 * `yardstick peer PORT` is the other end of `net`. Each answer takes about MS milliseconds per figure; it never checks what it is told.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, PAGE = 4096, AREA = 64 * MIB, MOST = 1 << 16 };

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static uint64_t step(uint64_t x) { return x * 6364136223846793005u + 1442695040888963407u; }

/* ---- processor ---- */
struct worker {
  pthread_t thread;
  double until;
  uint64_t rounds, kept;
};

static void *compute(void *given) {
  struct worker *it = given;
  uint64_t x = (uint64_t)(uintptr_t)it | 1;
  while (now() < it->until) {
    for (int i = 0; i < 100000; i++) x ^= step(x) >> 17, x = x << 7 | x >> 57;
    it->rounds += 100000;
  }
  it->kept = x; /* or the compiler would leave the work out */
  return NULL;
}

static void cpu(char *out, int ms, int threads) {
  static struct worker all[256];
  double begin = now();
  uint64_t rounds = 0;
  if (threads > 256) threads = 256;
  for (int i = 0; i < threads; i++) {
    all[i] = (struct worker){.until = begin + ms / 1e3};
    pthread_create(&all[i].thread, NULL, compute, &all[i]);
  }
  for (int i = 0; i < threads; i++) pthread_join(all[i].thread, NULL), rounds += all[i].rounds;
  sprintf(out, "{\"ops\":%.3f}", (double)rounds / (now() - begin) / 1e6);
}

/* ---- memory ---- */
static void memory(char *out, int ms) {
  static uint64_t *from, *to;
  if (!from) {
    from = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    to = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    /* One ring through every cache line, in an order that no prefetcher knows (Sattolo). */
    uint32_t lines = AREA / 64, *order = malloc(lines * sizeof *order);
    uint64_t seed = 42;
    for (uint32_t i = 0; i < lines; i++) order[i] = i;
    for (uint32_t i = lines - 1; i > 0; i--) {
      seed = step(seed);
      uint32_t j = (uint32_t)((seed >> 33) % i), kept = order[i];
      order[i] = order[j], order[j] = kept;
    }
    for (uint32_t i = 0; i < lines; i++) from[order[i] * 8ul] = order[(i + 1) % lines] * 8ul;
    free(order);
  }
  double begin = now(), took;
  uint64_t copied = 0, reads = 0;
  do memcpy(to, from, AREA), copied += AREA;
  while ((took = now() - begin) < ms / 1e3);
  double bandwidth = (double)copied / took / MIB;
  volatile uint64_t at = 0;
  begin = now();
  do {
    uint64_t here = at;
    for (int i = 0; i < 10000; i++) here = from[here];
    at = here, reads += 10000;
  } while ((took = now() - begin) < ms / 1e3);
  sprintf(out, "{\"bandwidth\":%.1f,\"latency\":%.2f}", bandwidth, took / (double)reads * 1e9);
}

/* ---- disk ---- */
static void disk(char *out, int ms, const char *file) {
  static char *block;
  if (!block && posix_memalign((void **)&block, PAGE, MIB)) return;
  memset(block, 0x5a, MIB);
  int fd = open(file, O_RDWR | O_CREAT | O_DIRECT, 0600);
  if (fd < 0) {
    sprintf(out, "{\"error\":\"%s\"}", strerror(errno));
    return;
  }
  /* The file is there in full before anything is measured. */

  if (lseek(fd, 0, SEEK_END) < AREA)
    for (off_t at = 0; at < AREA; at += MIB)
      if (pwrite(fd, block, MIB, at) != MIB) break;
  fsync(fd);
  double begin = now(), took;
  uint64_t written = 0, writes = 0, seed = 7;
  do {
    if (pwrite(fd, block, MIB, (off_t)(written % AREA)) != MIB) break;
    written += MIB;
  } while ((took = now() - begin) < ms / 1e3);
  fsync(fd);
  took = now() - begin;
  double sequential = (double)written / took / MIB;
  close(fd);
  fd = open(file, O_RDWR | O_DIRECT | O_DSYNC);
  begin = now();
  do {
    seed = step(seed);
    if (pwrite(fd, block, PAGE, (off_t)((seed >> 33) % (AREA / PAGE)) * PAGE) != PAGE) break;
    writes++;
  } while ((took = now() - begin) < ms / 1e3);
  close(fd);
  sprintf(out, "{\"sequential\":%.1f,\"random\":%.1f}", sequential, (double)writes / took);
}

/* ---- network ---- */
static int dial(const char *host, const char *port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof to)) return close(fd), -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static int read_all(int fd, char *to, size_t size) {
  for (size_t got = 0; got < size;) {
    ssize_t n = read(fd, to + got, size - got);
    if (n <= 0) return -1;
    got += (size_t)n;
  }
  return 0;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void net(char *out, int ms, const char *host, const char *port) {
  static char bulk[1 << 16];
  static double trips[MOST];
  char small[64] = "p";
  int fd = dial(host, port), count = 0;
  if (fd < 0) {
    sprintf(out, "{\"error\":\"%s\"}", strerror(errno));
    return;
  }
  double begin = now();
  while (now() - begin < ms / 1e3 && count < MOST) {
    double sent = now();
    if (write(fd, small, sizeof small) != sizeof small || read_all(fd, small, sizeof small)) break;
    trips[count++] = (now() - sent) * 1e6;
  }
  close(fd);
  fd = dial(host, port);
  uint64_t sent = 0, heard = 0;
  bulk[0] = 'b';
  begin = now();
  while (now() - begin < ms / 1e3) {
    ssize_t n = write(fd, bulk, sizeof bulk);
    if (n <= 0) break;
    sent += (uint64_t)n;
  }
  /* The time ends when the other side has everything. */
  shutdown(fd, SHUT_WR);
  read_all(fd, (char *)&heard, sizeof heard);
  double took = now() - begin;
  close(fd);
  qsort(trips, (size_t)count, sizeof *trips, by_size);
  sprintf(out, "{\"throughput\":%.1f,\"p50\":%.1f,\"p99\":%.1f}", (double)heard / took / MIB, count ? trips[count / 2] : -1,
          count ? trips[count * 99 / 100] : -1);
}

static void serve(int fd) {
  static char buffer[1 << 16];
  uint64_t total = 0;
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  for (int first = 1, echo = 0;; first = 0) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) break;
    if (first) echo = buffer[0] == 'p';
    total += (uint64_t)n;
    if (echo && write(fd, buffer, (size_t)n) != n) break;
  }
  if (write(fd, &total, sizeof total) < 0) return;
}

static int peer(int port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 64)) return 1;
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    int client = accept(fd, NULL, NULL);
    if (client >= 0 && fork() == 0) serve(client), _exit(0);
    close(client);
  }
}

static int agent(const char *host, const char *port, const char *name) {
  static char line[4096], out[4096];
  int fd = dial(host, port);
  if (fd < 0) return 1;
  FILE *in = fdopen(fd, "r");
  dprintf(fd, "%s\n", name);
  while (fgets(line, sizeof line, in)) {
    char verb[16] = "", a[1024] = "", b[64] = "";
    int ms = 0;
    sscanf(line, "%15s %d %1023s %63s", verb, &ms, a, b);
    strcpy(out, "{\"error\":\"unknown\"}");
    if (!strcmp(verb, "cpu")) cpu(out, ms, atoi(a));
    else if (!strcmp(verb, "memory")) memory(out, ms);
    else if (!strcmp(verb, "disk")) disk(out, ms, a);
    else if (!strcmp(verb, "net")) net(out, ms, a, b);
    dprintf(fd, "%s\n", out);
  }
  return 0;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc == 3 && !strcmp(argv[1], "peer")) return peer(atoi(argv[2]));
  if (argc == 5 && !strcmp(argv[1], "agent")) return agent(argv[2], argv[3], argv[4]);
  fprintf(stderr, "usage: yardstick agent HOST PORT NAME | peer PORT\n");
  return 2;
}
