/*
 * Who writes to a file, by the kernel's word: prints a line each time another process than before has written to one of the files
 * given. It asks no lock of QEMU's and no program of ours.
 *
 *   writers FILE...     ->  "ready", then "FILE-NUMBER PID NAME" per change of writer; "blind" and exit 1 when events were lost
 *
 * The kernel merges events that one process causes and that nobody has read yet, also around those of another: two that write in
 * turn are told apart as far as this process is scheduled in between, and two that write for longer than that are never missed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { most = 64 };
static struct { dev_t dev; ino_t ino; int pid; } files[most];

static void name_of(int pid, char *into, size_t size) {
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	strncpy(into, "?", size);
	FILE *comm = fopen(path, "r");
	if (comm == NULL) return;
	if (fgets(into, (int)size, comm) != NULL) into[strcspn(into, "\n")] = '\0';
	fclose(comm);
}

int main(int count, char **names) {
	if (count < 2 || count - 1 > most) {
		fprintf(stderr, "writers FILE... (at most %d)\n", most);
		return 2;
	}
	int group = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_UNLIMITED_QUEUE, O_RDONLY | O_CLOEXEC | O_LARGEFILE);
	if (group < 0) return perror("fanotify_init"), 2;
	for (int i = 1; i < count; i++) {
		struct stat is;
		if (stat(names[i], &is) != 0) return perror(names[i]), 2;
		files[i - 1].dev = is.st_dev;
		files[i - 1].ino = is.st_ino;
		if (fanotify_mark(group, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, names[i]) != 0) return perror(names[i]), 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	static char buffer[65536] __attribute__((aligned(__alignof__(struct fanotify_event_metadata))));
	for (;;) {
		ssize_t length = read(group, buffer, sizeof buffer);
		if (length < 0) return perror("read"), 2;
		struct fanotify_event_metadata *event = (void *)buffer;
		for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length)) {
			if (event->mask & FAN_Q_OVERFLOW) return puts("blind"), 1;
			struct stat is;
			if (event->fd < 0 || fstat(event->fd, &is) != 0) return puts("blind"), 1;
			close(event->fd);
			for (int i = 0; i < count - 1; i++) {
				if (files[i].dev != is.st_dev || files[i].ino != is.st_ino || files[i].pid == event->pid) continue;
				char name[32];
				name_of(event->pid, name, sizeof name);
				files[i].pid = event->pid;
				printf("%d %d %s\n", i, event->pid, name);
			}
		}
	}
}
