/*
 * Load with proof: memory that is dirtied at a given rate and whose every word follows from (page, version), and disk records
 * whose number is acknowledged only after fsync. After a migration, a pause or a crash the outside asks whether all is there.
 */
#include "probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#define BLKGETSIZE64 _IOR(0x12, 114, size_t)
enum { WORDS = PAGE / 8, SLOTS = 16384, BATCH = 64 };

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER, disk_state = PTHREAD_MUTEX_INITIALIZER, page_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- memory ---- */
static struct {
  uint64_t *words, pages, mib;
  uint32_t *version;
  pthread_t thread;
  int started, random;
  atomic_int run;
  uint64_t rate_mib; /* per second; 0 is as fast as it goes */
  _Atomic uint64_t written;
  uint64_t begun_ns;
} mem;

static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
  return x ^ x >> 29;
}

static void write_page(uint64_t page) {
  uint64_t *word = mem.words + page * WORDS, value = mix(page << 32 | ++mem.version[page]);
  for (int i = 0; i < WORDS; i++) word[i] = value += 0xd1342543de82ef95u;
}

static int page_is_right(uint64_t page) {
  uint64_t *word = mem.words + page * WORDS, value = mix(page << 32 | mem.version[page]);
  for (int i = 0; i < WORDS; i++)
    if (word[i] != (value += 0xd1342543de82ef95u)) return 0;
  return 1;
}

/* Breaks one word behind the checksum's back, so that a test can see that it would notice. */
static int corrupt(uint64_t page) {
  if (page >= mem.pages) return EINVAL;
  mem.words[page * WORDS + 7] ^= 1u << 9;
  return 0;
}

static void *dirty_loop(void *unused) {
  (void)unused;
  uint64_t begin = now_ns(CLOCK_MONOTONIC), done = 0, next = 0, seed = begin | 1;
  while (mem.run) {
    uint64_t now = now_ns(CLOCK_MONOTONIC), due = mem.rate_mib ? (now - begin) / 1000 * mem.rate_mib * 256 / 1000000 : done + BATCH;
    /* Time in which the guest did not run is not made up for. */
    if (due > done + mem.rate_mib * 32 + BATCH) begin = now, done = due = 0;
    if (due <= done) {
      nanosleep(&(struct timespec){0, 1000000}, NULL);
      continue;
    }
    uint64_t n = due - done < BATCH ? due - done : BATCH;
    pthread_mutex_lock(&page_lock);
    for (uint64_t i = 0; i < n; i++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      write_page(mem.random ? (seed >> 20) % mem.pages : next);
      if (++next == mem.pages) next = 0;
    }
    pthread_mutex_unlock(&page_lock);
    done += n;
    mem.written += n;
  }
  return NULL;
}

static void dirty_stop(void) {
  mem.run = 0;
  if (mem.started) pthread_join(mem.thread, NULL);
  mem.started = 0;
}

/* A region of this size, each page written once; 0 or the error's number. */
static int fill(uint64_t mib) {
  struct sysinfo memory;
  dirty_stop();
  if (mib == mem.mib && mib > 0) return 0;
  if (mem.words) munmap(mem.words, mem.pages * PAGE), free(mem.version);
  mem.words = NULL, mem.mib = mem.pages = 0;
  sysinfo(&memory);
  if (mib < 1) return EINVAL;
  if (mib + 16 > (memory.freeram * memory.mem_unit >> 20)) return ENOMEM;
  void *at = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uint32_t *version = calloc(mib * 256, sizeof *version);
  if (at == MAP_FAILED || !version) {
    if (at != MAP_FAILED) munmap(at, mib << 20);
    free(version);
    return ENOMEM;
  }
  pthread_mutex_lock(&page_lock);
  mem.words = at, mem.version = version, mem.mib = mib, mem.pages = mib * 256;
  for (uint64_t page = 0; page < mem.pages; page++) write_page(page);
  pthread_mutex_unlock(&page_lock);
  return 0;
}

static void dirty_status(char *out) {
  answer(out, "{\"ok\":true,\"running\":%s,\"mib\":%lu,\"rateMiBps\":%lu,\"writtenPages\":%lu,\"elapsedUs\":%lu}",
         mem.run ? "true" : "false", mem.mib, mem.rate_mib, mem.written, (now_ns(CLOCK_MONOTONIC) - mem.begun_ns) / 1000);
}

static int dirty_start(uint64_t mib, uint64_t rate, int random) {
  int failed = fill(mib);
  if (failed) return failed;
  mem.rate_mib = rate;
  mem.random = random;
  mem.written = 0;
  mem.begun_ns = now_ns(CLOCK_MONOTONIC);
  mem.run = 1;
  failed = pthread_create(&mem.thread, NULL, dirty_loop, NULL);
  mem.started = !failed;
  return failed;
}

/* Runs beside the dirtying: a page is compared with its version under the lock under which both change. */
static void checksum(char *out) {
  uint64_t sum = 0, bad = 0, first_bad = 0;
  for (uint64_t page = 0; page < mem.pages; page++) {
    if (page % BATCH == 0) pthread_mutex_lock(&page_lock);
    if (!page_is_right(page) && bad++ == 0) first_bad = page;
    sum = mix(sum ^ mem.version[page]);
    if (page % BATCH == BATCH - 1) pthread_mutex_unlock(&page_lock);
  }
  if (bad) answer(out, "{\"ok\":false,\"error\":\"memory is wrong\",\"firstBadPage\":%lu,\"badPages\":%lu}", first_bad, bad);
  else answer(out, "{\"ok\":true,\"pages\":%lu,\"sum\":\"%016lx\"}", mem.pages, sum);
}

/* ---- a process to be hit by a memory error: it reads one page for ever; its death says whom the error reached ---- */
static pid_t victim;

static void victim_start(char *out) {
  if (victim > 0) kill(victim, SIGKILL), waitpid(victim, NULL, 0);
  volatile char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  uint64_t entry = 0;
  victim = fork();
  if (victim == 0) {
    for (page[0] = 1; page[0]; usleep(1000)) {}
    _exit(0);
  }
  /* The child's first write takes a page of its own; only then is its frame number the right one. */
  usleep(100000);
  munmap((void *)page, PAGE);
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/pagemap", victim);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (pread(fd, &entry, sizeof entry, (off_t)((uintptr_t)page / PAGE * 8)) != sizeof entry || !(entry >> 63))
    answer_error(out, "pagemap", errno);
  else answer(out, "{\"ok\":true,\"pid\":%d,\"guestPhysical\":\"0x%lx\"}", victim, (entry & ((1ul << 55) - 1)) * PAGE);
  close(fd);
}

static void victim_status(char *out) {
  static int status;
  if (victim <= 0) return answer(out, "{\"ok\":false,\"error\":\"no victim\"}");
  int ended = waitpid(victim, &status, WNOHANG) != 0;
  answer(out, "{\"ok\":true,\"pid\":%d,\"alive\":%s,\"signal\":%d}", victim, ended ? "false" : "true",
         ended && WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

/* ---- disk ---- */
struct record {
  uint64_t magic, number, inverse, body[WORDS - 3];
};

static struct {
  pthread_t thread;
  int started;
  atomic_int run;
  _Atomic uint64_t acked, failed, slowest_us;
  _Atomic int error;
  uint64_t interval_us;
} records;

/* The highest number that is whole on the disk. */
static uint64_t last_record(int fd) {
  uint64_t last = 0;
  struct record r;
  for (off_t slot = 0; slot < SLOTS && pread(fd, &r, 24, slot * PAGE) == 24; slot++)
    if (r.magic == 0x3130434552534656u && r.inverse == ~r.number && r.number > last) last = r.number;
  return last;
}

static void *record_loop(void *unused) {
  (void)unused;
  static struct record r = {.magic = 0x3130434552534656u};
  int fd = open("/disk/records", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  uint64_t next = last_record(fd) + 1;
  while (records.run) {
    uint64_t begin = now_ns(CLOCK_MONOTONIC);
    r.number = next, r.inverse = ~next;
    for (int i = 0; i < WORDS - 3; i++) r.body[i] = next;
    errno = 0;
    if (pwrite(fd, &r, PAGE, (off_t)(next % SLOTS) * PAGE) == PAGE && fsync(fd) == 0) {
      records.acked = next++;
    } else {
      records.failed++;
      records.error = errno ? errno : EIO;
      usleep(10000);
    }
    uint64_t took = (now_ns(CLOCK_MONOTONIC) - begin) / 1000;
    if (took > records.slowest_us) records.slowest_us = took;
    if (records.interval_us) usleep((useconds_t)records.interval_us);
  }
  close(fd);
  return NULL;
}

static void records_stop(void) {
  records.run = 0;
  if (records.started) pthread_join(records.thread, NULL);
  records.started = 0;
}

static void disk_write(uint64_t mib, char *out) {
  static uint64_t block[1 << 17]; /* 1 MiB, never zero, so that each block needs room underneath */
  uint64_t begin = now_ns(CLOCK_MONOTONIC), done = 0;
  int fd = open("/disk/fill", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  errno = 0;
  for (; done < mib; done++) {
    for (size_t i = 0; i < sizeof block / 8; i++) block[i] = begin + done + i;
    if (write(fd, block, sizeof block) != sizeof block || fsync(fd)) break;
  }
  if (done < mib) answer(out, "{\"ok\":false,\"error\":\"disk write: %s\",\"writtenMiB\":%lu}", strerror(errno ? errno : ENOSPC), done);
  else answer(out, "{\"ok\":true,\"writtenMiB\":%lu,\"elapsedUs\":%lu}", done, (now_ns(CLOCK_MONOTONIC) - begin) / 1000);
  close(fd);
}

static void disk_status(char *out) {
  answer(out, "{\"ok\":true,\"running\":%s,\"acked\":%lu,\"failed\":%lu,\"error\":\"%s\",\"slowestUs\":%lu}",
         records.run ? "true" : "false", records.acked, records.failed, records.error ? strerror(records.error) : "",
         records.slowest_us);
}

static void disk_command(const char *sub, int argc, char **argv, char *out) {
  if (!strcmp(sub, "write")) return disk_write(number(argc, argv, 2, 1), out);
  if (!strcmp(sub, "status")) return disk_status(out);
  if (!strcmp(sub, "clear")) {
    if (unlink("/disk/fill") && errno != ENOENT) return answer_error(out, "disk clear", errno);
    sync();
    return answer(out, "{\"ok\":true}");
  }
  if (!strcmp(sub, "last")) {
    int fd = open("/disk/records", O_RDONLY | O_CLOEXEC);
    answer(out, "{\"ok\":true,\"last\":%lu}", fd < 0 ? 0 : last_record(fd));
    if (fd >= 0) close(fd);
    return;
  }
  if (strcmp(sub, "start") && strcmp(sub, "stop")) return answer_error(out, "disk", EINVAL);
  records_stop();
  if (!strcmp(sub, "start")) {
    records.acked = records.failed = records.slowest_us = 0;
    records.error = 0;
    records.interval_us = number(argc, argv, 2, 0);
    records.run = 1;
    records.started = !pthread_create(&records.thread, NULL, record_loop, NULL);
  }
  disk_status(out);
}

static uint64_t boots;

static void grow_and_count(void) {
  struct stat disk, root;
  if (stat("/disk", &disk) || stat("/", &root) || disk.st_dev == root.st_dev) return;
  char text[24] = "";
  int directory = open("/disk", O_RDONLY | O_CLOEXEC), fd = open("/disk/boots", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (pread(fd, text, sizeof text - 1, 0) >= 0) boots = strtoull(text, NULL, 10) + 1;
  int size = snprintf(text, sizeof text, "%lu\n", boots);
  if (pwrite(fd, text, (size_t)size, 0) != size || fsync(fd) || fsync(directory)) perror("probe: /disk/boots");
  int device = open("/dev/vda", O_RDONLY | O_CLOEXEC);
  uint64_t bytes = 0;
  if (ioctl(device, BLKGETSIZE64, &bytes) == 0) {
    uint64_t blocks = bytes / PAGE;
    /* Refused for a file system of another kind or of full size; neither is a reason not to start. */
    if (ioctl(directory, EXT4_IOC_RESIZE_FS, &blocks)) errno = 0;
  }
  close(fd), close(device), close(directory);
}

uint64_t disk_begin(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, grow_and_count);
  return boots;
}

void disk_end(void) { records.run = 0; }

int load_command(int argc, char **argv, char *out) {
  const char *verb = argc > 0 ? argv[0] : "", *sub = argc > 1 ? argv[1] : "";
  int failed = 0, known = 1;
  /* A write may wait for as long as the host has no room; what else is asked meanwhile is answered. */
  pthread_mutex_t *turn = strcmp(verb, "disk") ? &state : &disk_state;
  pthread_mutex_lock(turn);
  if (!strcmp(verb, "fill")) {
    failed = fill(number(argc, argv, 1, 0));
    if (failed) answer_error(out, "fill", failed);
    else dirty_status(out);
  } else if (!strcmp(verb, "dirty")) {
    if (!strcmp(sub, "start")) failed = dirty_start(number(argc, argv, 2, 0), number(argc, argv, 3, 0), argc > 4 && *argv[4] == 'r');
    else if (!strcmp(sub, "stop")) dirty_stop();
    else if (!strcmp(sub, "corrupt")) failed = corrupt(number(argc, argv, 2, 0));
    else if (strcmp(sub, "status")) failed = EINVAL;
    if (failed) answer_error(out, "dirty", failed);
    else dirty_status(out);
  } else if (!strcmp(verb, "checksum")) {
    checksum(out);
  } else if (!strcmp(verb, "victim")) {
    if (!strcmp(sub, "start")) victim_start(out);
    else victim_status(out);
  } else if (!strcmp(verb, "disk")) {
    disk_command(sub, argc, argv, out);
  } else {
    known = 0;
  }
  pthread_mutex_unlock(turn);
  return known;
}
