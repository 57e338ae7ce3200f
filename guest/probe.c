/*
 * The guest's side of every proof that a VM was not interrupted: an outside observer sees what this sends and asks.
 *
 * `probe -d [IP:PORT]` is the daemon: echo on port 7, control on port 7777 (both UDP and TCP; one line in, one line of JSON out)
 * and, when an address is given, beats from its first moment. `probe WORD...` on the console is a client of that daemon.
 *
 * Every connection has its thread and may take its time; the beat has its own, above all others (SCHED_FIFO), because it is to
 * measure what happens to the VM and not how the guest's own scheduler shares it out. A beat that comes late is not made up
 * for: the next one follows an interval later, so that a pause shows as one gap and the sequence numbers count losses only.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/input.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

enum { ECHO_PORT = 7, CONTROL_PORT = 7777 };

/* Little-endian on the wire; guest/beat-listener.ts reads it. */
struct beat {
  char magic[8];
  uint64_t seq, monotonic_ns, realtime_ns;
  uint8_t boot_id[16];
};

static char boot_id[40];
static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;

static struct {
  pthread_t thread;
  int started;
  atomic_int run;
  _Atomic uint64_t sent, failed;
  uint64_t interval_ns, seq; /* seq goes on from one start to the next */
  struct sockaddr_in to;
} beats;

uint64_t now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void answer(char *out, const char *format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(out, ANSWER, format, list);
  va_end(list);
}

void answer_error(char *out, const char *what, int code) {
  answer(out, "{\"ok\":false,\"error\":\"%s: %s\"}", what, strerror(code));
}

uint64_t number(int argc, char **argv, int i, uint64_t fallback) {
  return i < argc ? strtoull(argv[i], NULL, 10) : fallback;
}

static void *beat_loop(void *unused) {
  (void)unused;
  struct sched_param priority = {.sched_priority = 50};
  pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority);
  prctl(PR_SET_TIMERSLACK, 1);
  struct beat b = {.magic = "VSBEAT01", .seq = beats.seq};
  for (int i = 0, at = 0; i < 16; i++, at += 2) {
    if (boot_id[at] == '-') at++;
    sscanf(&boot_id[at], "%2hhx", &b.boot_id[i]);
  }
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  uint64_t next = now_ns(CLOCK_MONOTONIC);
  while (beats.run) {
    b.monotonic_ns = now_ns(CLOCK_MONOTONIC);
    b.realtime_ns = now_ns(CLOCK_REALTIME);
    if (sendto(fd, &b, sizeof b, MSG_DONTWAIT, (struct sockaddr *)&beats.to, sizeof beats.to) == sizeof b)
      b.seq = ++beats.seq, beats.sent++;
    else
      beats.failed++;
    next += beats.interval_ns;
    if (next < b.monotonic_ns) next = b.monotonic_ns + beats.interval_ns;
    struct timespec until = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  }
  close(fd);
  return NULL;
}

static void beat_stop(void) {
  beats.run = 0;
  if (beats.started) pthread_join(beats.thread, NULL);
  beats.started = 0;
}

static int beat_start(const char *ip, uint64_t port, uint64_t interval_us) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, ip, &to.sin_addr) != 1 || port < 1 || port > 65535 || interval_us < 100) return EINVAL;
  beat_stop();
  beats.to = to;
  beats.interval_ns = interval_us * 1000;
  beats.sent = beats.failed = 0;
  beats.run = 1;
  int failed = pthread_create(&beats.thread, NULL, beat_loop, NULL);
  beats.started = !failed;
  return failed;
}

/* Everything is on disk, then the machine goes; nothing here waits for a process to end. */
static void leave(int how) {
  disk_end();
  sync();
  umount2("/disk", MNT_DETACH);
  reboot(how);
}

static void info(char *out) {
  struct utsname name;
  struct sysinfo memory;
  struct ifreq request = {.ifr_name = "eth0"};
  char ip[INET_ADDRSTRLEN] = "none", instance[64] = "none";
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (ioctl(fd, SIOCGIFADDR, &request) == 0)
    inet_ntop(AF_INET, &((struct sockaddr_in *)&request.ifr_addr)->sin_addr, ip, sizeof ip);
  close(fd);
  FILE *file = fopen("/run/instance-id", "re");
  if (file) {
    if (fscanf(file, "%63[a-zA-Z0-9._-]", instance) != 1) strcpy(instance, "none");
    fclose(file);
  }
  uint64_t boots = disk_begin();
  struct statvfs disk = {0};
  if (boots > 0) statvfs("/disk", &disk);
  uname(&name);
  sysinfo(&memory);
  answer(out,
         "{\"ok\":true,\"ip\":\"%s\",\"hostname\":\"%s\",\"instanceId\":\"%s\",\"bootId\":\"%s\",\"boots\":%lu,\"cpus\":%ld,"
         "\"memoryMiB\":%lu,\"diskMiB\":%lu,\"kernel\":\"%s\",\"uptimeMs\":%lu}",
         ip, name.nodename, instance, boot_id, boots, sysconf(_SC_NPROCESSORS_ONLN), memory.totalram * memory.mem_unit >> 20,
         disk.f_blocks * disk.f_frsize >> 20, name.release, now_ns(CLOCK_BOOTTIME) / 1000000);
}

static void command(char *line, char *out) {
  char *argv[MAX_ARGS] = {NULL}, *rest = NULL;
  int argc = 0;
  for (char *word = strtok_r(line, " \t\r\n", &rest); word && argc < MAX_ARGS; word = strtok_r(NULL, " \t\r\n", &rest))
    argv[argc++] = word;
  const char *verb = argc > 0 ? argv[0] : "", *sub = argc > 1 ? argv[1] : "";
  if (!strcmp(verb, "bootid")) {
    answer(out, "{\"ok\":true,\"bootId\":\"%s\"}", boot_id);
  } else if (!strcmp(verb, "uptime")) {
    answer(out, "{\"ok\":true,\"uptimeMs\":%lu}", now_ns(CLOCK_BOOTTIME) / 1000000);
  } else if (!strcmp(verb, "info")) {
    info(out);
  } else if (!strcmp(verb, "beat")) {
    pthread_mutex_lock(&state);
    int failed = 0;
    if (!strcmp(sub, "start") && argc >= 4) failed = beat_start(argv[2], number(argc, argv, 3, 0), number(argc, argv, 4, 1000));
    else if (!strcmp(sub, "stop")) beat_stop();
    else if (strcmp(sub, "status")) failed = EINVAL;
    if (failed) answer_error(out, "beat", failed);
    else answer(out, "{\"ok\":true,\"running\":%s,\"sent\":%lu,\"failed\":%lu}", beats.run ? "true" : "false", beats.sent, beats.failed);
    pthread_mutex_unlock(&state);
  } else if (!strcmp(verb, "poweroff") || !strcmp(verb, "reboot")) {
    leave(*verb == 'p' ? RB_POWER_OFF : RB_AUTOBOOT);
  } else if (!strcmp(verb, "panic")) {
    FILE *trigger = fopen("/proc/sysrq-trigger", "we");
    if (trigger) fputc('c', trigger), fclose(trigger);
    answer_error(out, "panic", errno);
  } else if (!load_command(argc, argv, out)) {
    answer(out, "{\"ok\":false,\"error\":\"unknown command\"}");
  }
}

static void *serve_connection(void *argument) {
  int fd = (int)((intptr_t)argument >> 1), echo = (intptr_t)argument & 1;
  char line[ANSWER], out[ANSWER + 1];
  ssize_t got;
  if (echo) {
    while ((got = read(fd, line, sizeof line)) > 0)
      if (write(fd, line, (size_t)got) != got) break;
    close(fd);
    return NULL;
  }
  FILE *in = fdopen(fd, "r");
  while (in && fgets(line, sizeof line, in)) {
    command(line, out);
    strcat(out, "\n");
    if (write(fd, out, strlen(out)) < 0) break;
  }
  if (in) fclose(in);
  return NULL;
}

__attribute__((noreturn)) static void *serve_tcp(void *argument) {
  int listener = (int)((intptr_t)argument >> 1), echo = (intptr_t)argument & 1;
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    pthread_t thread;
    if (fd < 0) continue;
    if (pthread_create(&thread, NULL, serve_connection, (void *)((intptr_t)fd << 1 | echo))) close(fd);
    else pthread_detach(thread);
  }
}

__attribute__((noreturn)) static void *serve_udp(void *argument) {
  int fd = (int)((intptr_t)argument >> 1), echo = (intptr_t)argument & 1;
  char in[65536], out[ANSWER];
  struct sockaddr_in from;
  for (;;) {
    socklen_t size = sizeof from;
    ssize_t got = recvfrom(fd, in, sizeof in - 1, 0, (struct sockaddr *)&from, &size);
    if (got < 0) continue;
    in[got] = 0;
    if (!echo) command(in, out);
    sendto(fd, echo ? in : out, echo ? (size_t)got : strlen(out), 0, (struct sockaddr *)&from, size);
  }
}

static void *power_button(void *unused) {
  (void)unused;
  struct pollfd keys[8];
  nfds_t n = 0;
  for (int i = 0; i < 8; i++) {
    char path[32];
    snprintf(path, sizeof path, "/dev/input/event%d", i);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) keys[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
  }
  while (n > 0 && poll(keys, n, -1) >= 0) {
    struct input_event event;
    for (nfds_t i = 0; i < n; i++)
      if (keys[i].revents && read(keys[i].fd, &event, sizeof event) == sizeof event && event.type == EV_KEY &&
          event.code == KEY_POWER && event.value == 1)
        leave(RB_POWER_OFF);
  }
  return NULL;
}

/* Growing the file system may take a third of a second: nobody waits for it but who asks for the count of boots. */
static void *disk_main(void *unused) {
  disk_begin();
  return unused;
}

static int bound(int type, int port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) || (type == SOCK_STREAM && listen(fd, 64))) {
    perror("probe: bind");
    exit(1);
  }
  return fd;
}

static int daemon_main(char *target) {
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
  if (!file || fscanf(file, "%36s", boot_id) != 1) return 1;
  fclose(file);
  intptr_t udp_echo = bound(SOCK_DGRAM, ECHO_PORT), udp_control = bound(SOCK_DGRAM, CONTROL_PORT);
  intptr_t tcp_echo = bound(SOCK_STREAM, ECHO_PORT), tcp_control = bound(SOCK_STREAM, CONTROL_PORT);
  pid_t child = fork();
  if (child != 0) _exit(child < 0);
  setsid();
  signal(SIGPIPE, SIG_IGN);
  char *port = target ? strrchr(target, ':') : NULL;
  if (port) {
    *port = 0;
    if (beat_start(target, strtoull(port + 1, NULL, 10), 1000)) fprintf(stderr, "probe: cannot beat to %s\n", target);
  }
  pthread_t thread;
  pthread_create(&thread, NULL, serve_udp, (void *)(udp_echo << 1 | 1));
  pthread_create(&thread, NULL, serve_udp, (void *)(udp_control << 1));
  pthread_create(&thread, NULL, serve_tcp, (void *)(tcp_echo << 1 | 1));
  pthread_create(&thread, NULL, power_button, NULL);
  pthread_create(&thread, NULL, disk_main, NULL);
  serve_tcp((void *)(tcp_control << 1));
}

static int client_main(int argc, char **argv) {
  char line[ANSWER] = "";
  for (int i = 1; i < argc && strlen(line) + strlen(argv[i]) + 2 < sizeof line; i++) strcat(strcat(line, i > 1 ? " " : ""), argv[i]);
  strcat(line, "\n");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(CONTROL_PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) || write(fd, line, strlen(line)) < 0) {
    perror("probe: daemon");
    return 1;
  }
  FILE *in = fdopen(fd, "r");
  if (!in || !fgets(line, sizeof line, in)) return 1;
  fputs(line, stdout);
  return strncmp(line, "{\"ok\":true", 10) != 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "-d")) return daemon_main(argc > 2 ? argv[2] : NULL);
  return client_main(argc, argv);
}
