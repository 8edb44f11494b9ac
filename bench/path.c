// A path with delay between two network namespaces of its own, for kernels without netem.
//
//   path DELAY              makes the namespaces, prints the process that holds each, ends with its stdin
//   path within PID COMMAND...   exec COMMAND in the namespace of that process
//
//   near  10.77.0.1 [tun] ── read ── held for DELAY ns ── write ── [tun] 10.77.0.2  far     and back
//
// Namespaces, devices and packets on their way vanish with the two processes.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000ull
#define PACKET_MAX 2048
#define HELD_MAX 4096 // a power of two

struct packet {
  uint64_t due_ns;
  ssize_t size;
  char bytes[PACKET_MAX];
};

// One direction: packets leave in the order in which they came.
struct way {
  struct packet *held;
  uint64_t first, next;
};

static void fail(const char *what) {
  fprintf(stderr, "path: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * NS + (uint64_t)at.tv_nsec;
}

static void set_address(int fd, struct ifreq *request, unsigned long what, const char *text) {
  struct sockaddr_in *address = (struct sockaddr_in *)&request->ifr_addr;
  *address = (struct sockaddr_in){.sin_family = AF_INET};
  inet_pton(AF_INET, text, &address->sin_addr);
  if (ioctl(fd, what, request)) fail(text);
}

static void bring_up(int fd, struct ifreq *request) {
  request->ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(fd, SIOCSIFFLAGS, request)) fail("interface up");
}

// Moves this process to a namespace of its own. Returns the end of its tunnel.
static int new_end(const char *address) {
  struct ifreq loopback = {.ifr_name = "lo"};
  struct ifreq tunnel = {.ifr_name = "path", .ifr_flags = IFF_TUN | IFF_NO_PI};
  if (unshare(CLONE_NEWNET)) fail("network namespace");
  int end = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (end < 0) fail("tunnel");
  if (ioctl(end, TUNSETIFF, &tunnel)) fail("tunnel");
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  bring_up(fd, &loopback);
  set_address(fd, &tunnel, SIOCSIFADDR, address);
  set_address(fd, &tunnel, SIOCSIFNETMASK, "255.255.255.0");
  bring_up(fd, &tunnel);
  close(fd);
  return end;
}

static void take_packets(struct way *way, int from, uint64_t delay_ns) {
  while (way->next - way->first < HELD_MAX) {
    struct packet *packet = &way->held[way->next % HELD_MAX];
    packet->size = read(from, packet->bytes, PACKET_MAX);
    if (packet->size <= 0) return;
    packet->due_ns = now() + delay_ns;
    way->next++;
  }
}

// Returns when the next one is due, or `until`, if that is sooner.
static uint64_t pass_packets(struct way *way, int to, uint64_t until) {
  while (way->first < way->next) {
    struct packet *packet = &way->held[way->first % HELD_MAX];
    if (packet->due_ns > now()) return packet->due_ns < until ? packet->due_ns : until;
    // What a full device does not take is lost, as on any path.
    if (write(to, packet->bytes, (size_t)packet->size) < 0 && errno != EAGAIN) fail("packet");
    way->first++;
  }
  return until;
}

static _Noreturn void relay(int near, int far, uint64_t delay_ns) {
  struct pollfd ends[2] = {{.fd = near, .events = POLLIN}, {.fd = far, .events = POLLIN}};
  struct way up = {.held = calloc(HELD_MAX, sizeof(struct packet))};
  struct way down = {.held = calloc(HELD_MAX, sizeof(struct packet))};
  struct sched_param param = {.sched_priority = 3};
  if (!up.held || !down.held) fail("memory");
  prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
  sched_setscheduler(0, SCHED_FIFO, &param);
  for (;;) {
    take_packets(&up, near, delay_ns);
    take_packets(&down, far, delay_ns);
    uint64_t until = pass_packets(&down, near, pass_packets(&up, far, now() + NS));
    uint64_t at = now();
    uint64_t left = until > at ? until - at : 0;
    struct timespec wait = {.tv_sec = (time_t)(left / NS), .tv_nsec = (long)(left % NS)};
    ppoll(ends, 2, &wait, NULL);
  }
}

static int hold(uint64_t delay_ns) {
  int ready[2];
  char byte;
  int near = new_end("10.77.0.1");
  if (pipe(ready)) fail("pipe");
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int far = new_end("10.77.0.2");
    if (write(ready[1], "", 1) != 1) fail("pipe");
    relay(near, far, delay_ns);
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) return 1;
  printf("{\"near\":%d,\"far\":%d,\"host\":\"10.77.0.2\"}\n", getpid(), child);
  fflush(stdout);
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  return 0;
}

static int within(const char *pid, char **command) {
  char name[64];
  snprintf(name, sizeof name, "/proc/%s/ns/net", pid);
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET)) fail(name);
  execvp(command[0], command);
  fail(command[0]);
  return 1;
}

int main(int count, char **words) {
  if (count > 3 && !strcmp(words[1], "within")) return within(words[2], words + 3);
  if (count == 2) return hold(strtoull(words[1], NULL, 10));
  fprintf(stderr, "path: see the head of path.c\n");
  return 2;
}
