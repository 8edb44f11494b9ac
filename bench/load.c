// The load side of the benches: cheap destinations and bounded clients, all on loopback.
//
//   child CPU COMMAND...             exec COMMAND on one core (-1: any), ended when its parent dies
//   awake                            keeps its core from sleeping, giving way to all others
//   serve COUNT keep|close           destinations that answer at once; prints their ports
//   slots COUNT loopback|any         destinations that serve one connection at a time and really sleep
//   connect PORT COUNT INFLIGHT TEXT closed loop: open, send TEXT (or the bytes of hex:…), read to the end, close
//   burst PORT COUNT SIZE TEXT       the same, but SIZE are opened at once, and all end before the next
//   pace PORT RATE COUNT CONNECTIONS open loop of requests on kept connections
//   bulk PORT CONNECTIONS BYTES      each connection asks for BYTES and counts them
//   idle PORT                        opens as many pairs as each line of stdin says, and holds them; "ask" sends a
//                                    request through each of them
//   replay PORT TRACE OUT            open loop: one connection per arrival of a recorded trace
//
// A destination knows what is asked by the first byte: `G…` a request that ends with an empty line,
// `B<bytes>\n` send that many, `S<nanoseconds>\n` serve for that long. Every command prints one line of JSON.
// Times are CLOCK_MONOTONIC. A client counts what fails; it never tries again.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FD_MAX 65536
#define EVENT_MAX 256
#define SOURCE_COUNT 8
#define STALL_MS 20000
#define TEXT_MAX 2048
#define NS 1000000000ull

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const char ASK[] = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
#define ANSWER_SIZE (sizeof ANSWER - 1)
#define ASK_SIZE (sizeof ASK - 1)

static char scratch[1 << 20];

static void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * NS + (uint64_t)at.tv_nsec;
}

// A clock that wakes late is not the balancer's fault: where it is allowed, the sides that keep time go
// before all others on their core. Without the right to it they are merely less exact.
static void be_punctual(int priority) {
  struct sched_param param = {.sched_priority = priority};
  prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
  sched_setscheduler(0, SCHED_FIFO, &param);
}

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) fail("out of memory");
  return memory;
}

static long number(const char *text, long min, long max) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || *end || end == text || value < min || value > max) {
    fprintf(stderr, "load: %s is not between %ld and %ld\n", text, min, max);
    exit(2);
  }
  return value;
}

// ---- sockets ----------------------------------------------------------------

static struct sockaddr_in loopback(int last, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(0x7f000000u + (uint32_t)last);
  return address;
}

static void without_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int listen_any(int flags, bool everywhere, int *port) {
  int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = loopback(1, 0);
  if (everywhere) address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof address;
  if (bind(fd, (struct sockaddr *)&address, size)) fail("bind");
  if (listen(fd, 4096)) fail("listen");
  if (getsockname(fd, (struct sockaddr *)&address, &size)) fail("getsockname");
  *port = ntohs(address.sin_port);
  return fd;
}

// Sources go round 127.0.0.1…8, so that ports in TIME_WAIT never run out. Returns -1 on failure.
static int dial(int port) {
  static int source = 0;
  int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (fd >= FD_MAX) {
    close(fd);
    errno = EMFILE;
    return -1;
  }
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  without_delay(fd);
  struct sockaddr_in from = loopback(1 + source++ % SOURCE_COUNT, 0);
  struct sockaddr_in to = loopback(1, port);
  if (bind(fd, (struct sockaddr *)&from, sizeof from) ||
      (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)) {
    close(fd);
    return -1;
  }
  return fd;
}

static int epoll_new(void) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) fail("epoll_create1");
  return fd;
}

static void watch(int epoll, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

// Waits for events; a load that stands still for STALL_MS is a failure, not a long figure.
static int wait_events(int epoll, struct epoll_event *events) {
  for (;;) {
    int count = epoll_wait(epoll, events, EVENT_MAX, STALL_MS);
    if (count > 0) return count;
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) errno = ETIMEDOUT;
    fail("no event");
  }
}

static bool would_block(void) { return errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN; }

// ---- figures ----------------------------------------------------------------

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static double us_at(const uint64_t *sorted, size_t count, double share) {
  if (count == 0) return 0;
  size_t index = (size_t)(share * (double)count);
  return (double)sorted[index < count ? index : count - 1] / 1e3;
}

static void print_quantiles(uint64_t *ns, size_t count) {
  qsort(ns, count, sizeof *ns, by_size);
  printf("\"p50Us\":%.1f,\"p90Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f", us_at(ns, count, 0.5),
         us_at(ns, count, 0.9), us_at(ns, count, 0.99), us_at(ns, count, 0.999));
}

static void print_ports(const int *ports, int count) {
  printf("{\"ports\":[");
  for (int i = 0; i < count; i++) printf("%s%d", i ? "," : "", ports[i]);
  printf("]}\n");
  fflush(stdout);
}

// ---- serve: destinations that answer at once -----------------------------------

enum ask { ASK_NONE, ASK_REQUEST, ASK_BULK_HEAD, ASK_BULK };

struct served {
  enum ask ask;
  int matched;      // bytes of the empty line that ends a request, seen so far
  uint64_t pending; // bytes of a bulk answer still to send
  bool blocked;     // an epoll entry that also waits for room
};

static struct served served[FD_MAX];

// Sends what is left of a bulk answer. Returns false when the connection is over.
static bool send_bulk(int epoll, int fd) {
  struct served *one = &served[fd];
  while (one->pending) {
    size_t size = one->pending < (256 << 10) ? one->pending : (256 << 10);
    ssize_t sent = send(fd, scratch, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) one->pending -= (uint64_t)sent;
    if (sent < 0 && !one->blocked) {
      struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
      one->blocked = true;
      epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    }
    if (sent < 0) return true;
  }
  return false;
}

// Takes the bytes that came. Returns false when the connection is over.
static bool serve_bytes(int epoll, int fd, const char *bytes, ssize_t size, bool keep) {
  struct served *one = &served[fd];
  for (ssize_t i = 0; i < size; i++) {
    char byte = bytes[i];
    if (one->ask == ASK_NONE) one->ask = byte == 'B' ? ASK_BULK_HEAD : ASK_REQUEST;
    if (one->ask == ASK_BULK_HEAD) {
      if (byte >= '0' && byte <= '9') one->pending = one->pending * 10 + (uint64_t)(byte - '0');
      if (byte != '\n') continue;
      one->ask = ASK_BULK;
      return send_bulk(epoll, fd);
    }
    one->matched = byte == "\r\n\r\n"[one->matched] ? one->matched + 1 : byte == '\r';
    if (one->matched < 4) continue;
    one->matched = 0;
    if (send(fd, ANSWER, ANSWER_SIZE, MSG_NOSIGNAL) != (ssize_t)ANSWER_SIZE) return false;
    if (!keep) return false;
  }
  return true;
}

static _Noreturn void serve(int count, bool keep) {
  int epoll = epoll_new();
  int ports[64];
  bool listening[FD_MAX] = {false};
  struct epoll_event events[EVENT_MAX];
  for (int i = 0; i < count; i++) {
    int fd = listen_any(SOCK_NONBLOCK, false, &ports[i]);
    listening[fd] = true;
    watch(epoll, fd, EPOLLIN);
  }
  print_ports(ports, count);
  for (;;) {
    int ready = epoll_wait(epoll, events, EVENT_MAX, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (listening[fd]) {
        int accepted;
        while ((accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          if (accepted >= FD_MAX) fail("descriptors");
          without_delay(accepted);
          served[accepted] = (struct served){0};
          watch(epoll, accepted, EPOLLIN);
        }
        continue;
      }
      bool open = true;
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t size = recv(fd, scratch, 16384, 0);
        open = size > 0 ? serve_bytes(epoll, fd, scratch, size, keep) : size < 0 && errno == EAGAIN;
      }
      if (open && events[i].events & EPOLLOUT && served[fd].ask == ASK_BULK) open = send_bulk(epoll, fd);
      if (!open) close(fd);
    }
  }
}

// ---- slots: destinations that serve one connection at a time ---------------------

#define GAP_MAX (1 << 20)

// Connections that have not asked for anything: a balancer may open some ahead.
#define SILENT_MAX 64

struct slot {
  struct pollfd all[1 + SILENT_MAX]; // the listener, then the silent ones, oldest first
  nfds_t silent_count;
  uint64_t *gaps;   // ns from a close to the next connection's first byte
  size_t gap_count;
  size_t served_count;
};

static void serve_slot(struct slot *slot, int fd, uint64_t *closed_at) {
  char text[64];
  size_t size = 0;
  uint64_t first_at = 0;
  while (size < sizeof text - 1) {
    ssize_t got = recv(fd, text + size, sizeof text - 1 - size, 0);
    if (got <= 0) return;
    if (!first_at) first_at = now();
    size += (size_t)got;
    if (text[size - 1] == '\n') break;
  }
  text[size] = 0;
  if (text[0] != 'S') return;
  // Warming up asks for no service, and is not counted.
  uint64_t service_ns = strtoull(text + 1, NULL, 10);
  if (service_ns && *closed_at && slot->gap_count < GAP_MAX)
    slot->gaps[slot->gap_count++] = first_at - *closed_at;
  uint64_t end_at = first_at + service_ns;
  struct timespec until = {.tv_sec = (time_t)(end_at / NS), .tv_nsec = (long)(end_at % NS)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
  if (send(fd, "ok\n", 3, MSG_NOSIGNAL) == 3) slot->served_count++;
  *closed_at = now();
}

// Waits for the first connection that asks; the silent ones keep nobody waiting.
static int next_asking(struct slot *slot) {
  struct pollfd *all = slot->all;
  for (;;) {
    all[0].events = slot->silent_count < SILENT_MAX ? POLLIN : 0;
    if (poll(all, 1 + slot->silent_count, -1) < 0) continue;
    for (nfds_t i = 1; i <= slot->silent_count; i++) {
      int fd = all[i].fd;
      if (!all[i].revents) continue;
      memmove(&all[i], &all[i + 1], (slot->silent_count-- - i) * sizeof all[i]);
      return fd;
    }
    int fd = all[0].revents ? accept4(all[0].fd, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (fd >= 0) all[++slot->silent_count] = (struct pollfd){.fd = fd, .events = POLLIN};
  }
}

static void *run_slot(void *argument) {
  struct slot *slot = argument;
  uint64_t closed_at = 0;
  struct timeval patience = {.tv_sec = 5};
  be_punctual(2);
  for (;;) {
    int fd = next_asking(slot);
    without_delay(fd);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    serve_slot(slot, fd, &closed_at);
    close(fd);
  }
  return NULL;
}

static _Noreturn void slots(int count, bool everywhere) {
  struct slot all[64];
  int ports[64];
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    all[i] = (struct slot){.gaps = allocate(GAP_MAX, sizeof(uint64_t))};
    all[i].all[0].fd = listen_any(0, everywhere, &ports[i]);
    if (pthread_create(&thread, NULL, run_slot, &all[i])) fail("pthread_create");
  }
  print_ports(ports, count);
  while (read(STDIN_FILENO, scratch, sizeof scratch) > 0) continue;
  size_t served_count = 0, gap_count = 0;
  for (int i = 0; i < count; i++) gap_count += all[i].gap_count;
  uint64_t *gaps = allocate(gap_count, sizeof *gaps);
  gap_count = 0;
  for (int i = 0; i < count; i++) {
    memcpy(gaps + gap_count, all[i].gaps, all[i].gap_count * sizeof *gaps);
    gap_count += all[i].gap_count;
    served_count += all[i].served_count;
  }
  printf("{\"served\":%zu,\"gaps\":%zu,", served_count, gap_count);
  print_quantiles(gaps, gap_count);
  printf("}\n");
  fflush(stdout);
  _exit(0);
}

// ---- one connection of a client --------------------------------------------------

struct client {
  uint64_t from_ns; // when it started, or was to start
  size_t index;
  uint64_t got;
  uint64_t wanted;
  const char *text; // what it still has to send: in `own`, or where it was given
  size_t text_size;
  char own[64];
};

static struct client clients[FD_MAX];

// Sends what waits for the connection to stand. Returns false when it failed.
static bool send_text(int fd) {
  struct client *client = &clients[fd];
  if (!client->text_size) return true;
  ssize_t sent = send(fd, client->text, client->text_size, MSG_NOSIGNAL);
  if (sent < 0) return would_block();
  client->text_size -= (size_t)sent;
  client->text += sent;
  return true;
}

// Opens a connection that will send `text`, which has to stay when it is longer than `own`. Returns its descriptor, or
// -1 when it failed at once.
static int open_client(int epoll, int port, const char *text, size_t text_size) {
  int fd = dial(port);
  if (fd < 0) return -1;
  struct client *client = &clients[fd];
  *client = (struct client){.text_size = text_size};
  client->text = text_size > sizeof client->own ? text : memcpy(client->own, text, text_size);
  if (!send_text(fd)) {
    close(fd);
    return -1;
  }
  watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  return fd;
}

// ---- connect: closed loop of new connections ---------------------------------------

// What an argument says to send: itself, or the bytes behind "hex:". Returns how many there are.
static size_t bytes_of(const char *text, char *bytes, size_t size_max) {
  size_t size = 0;
  bool hex = !strncmp(text, "hex:", 4);
  if (hex) text += 4;
  for (; *text && size < size_max; size++) {
    unsigned byte = (unsigned char)*text;
    if (hex && sscanf(text, "%2x", &byte) != 1) fail("text is no hex");
    bytes[size] = (char)byte;
    text += hex && text[1] ? 2 : 1;
  }
  if (*text) fail("text too long");
  return size;
}

static int connect_loop(int port, size_t count, size_t inflight, bool bursts, const char *text) {
  int epoll = epoll_new();
  struct epoll_event events[EVENT_MAX];
  uint64_t *ns = allocate(count, sizeof *ns);
  size_t started = 0, done = 0, good = 0;
  char bytes[TEXT_MAX];
  size_t text_size = bytes_of(text, bytes, sizeof bytes);
  if (text[0] == 'S') be_punctual(1);
  uint64_t start_at = now();
  while (done < count) {
    bool open_more = !bursts || started == done;
    while (open_more && started < count && started - done < inflight) {
      uint64_t at = now();
      int fd = open_client(epoll, port, bytes, text_size);
      started++;
      if (fd < 0) done++;
      else clients[fd].from_ns = at;
    }
    if (done == count) break;
    int ready = wait_events(epoll, events);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      bool open = send_text(fd);
      bool ended = false;
      while (open && !ended) {
        ssize_t size = recv(fd, scratch, sizeof scratch, 0);
        if (size > 0) clients[fd].got += (uint64_t)size;
        else if (size == 0) ended = true;
        else if (would_block()) break;
        else open = false;
      }
      if (open && !ended) continue;
      if (ended && clients[fd].got) ns[good++] = now() - clients[fd].from_ns;
      close(fd);
      done++;
    }
  }
  printf("{\"count\":%zu,\"errors\":%zu,\"seconds\":%.6f,", good, count - good,
         (double)(now() - start_at) / 1e9);
  print_quantiles(ns, good);
  printf("}\n");
  return 0;
}

// ---- pace: open loop of requests on kept connections -----------------------------

static void set_timer(int timer, uint64_t at) {
  struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at / NS), .tv_nsec = (long)(at % NS)}};
  if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL)) fail("timerfd_settime");
}

static int timer_new(int epoll) {
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer < 0) fail("timerfd_create");
  watch(epoll, timer, EPOLLIN);
  return timer;
}

static void read_timer(int timer) {
  if (read(timer, scratch, 8) < 0 && errno != EAGAIN) fail("timer");
}

// One request through a connection. Returns false when no whole answer comes.
static bool ask(int fd) {
  size_t got = 0;
  struct pollfd wait = {.fd = fd, .events = POLLOUT};
  if (poll(&wait, 1, STALL_MS) == 1 && send(fd, ASK, ASK_SIZE, MSG_NOSIGNAL) == (ssize_t)ASK_SIZE) {
    wait.events = POLLIN;
    while (got < ANSWER_SIZE && poll(&wait, 1, STALL_MS) == 1) {
      ssize_t size = recv(fd, scratch, ANSWER_SIZE - got, 0);
      if (size <= 0) break;
      got += (size_t)size;
    }
  }
  return got == ANSWER_SIZE;
}

// Opens a pair and takes one answer through it, so that both its halves surely stand.
static int open_pair(int port) {
  int fd = dial(port);
  if (fd < 0) return -1;
  if (ask(fd)) return fd;
  close(fd);
  return -1;
}

static int pace(int port, uint64_t rate, size_t count, size_t connection_count) {
  int epoll = epoll_new();
  int timer = timer_new(epoll);
  struct epoll_event events[EVENT_MAX];
  uint64_t *ns = allocate(count, sizeof *ns);
  int *idle = allocate(connection_count, sizeof *idle);
  size_t idle_count = 0, sent = 0, done = 0, errors = 0;
  for (size_t i = 0; i < connection_count; i++) {
    int fd = open_pair(port);
    if (fd < 0) fail("a connection failed before the start");
    clients[fd] = (struct client){0};
    watch(epoll, fd, EPOLLIN);
    idle[idle_count++] = fd;
  }
  uint64_t start_at = now() + 10000000;
  while (done + errors < count) {
    uint64_t due;
    while (sent < count && idle_count && (due = start_at + sent * NS / rate) <= now()) {
      int fd = idle[--idle_count];
      clients[fd].from_ns = due;
      clients[fd].got = 0;
      sent++;
      if (send(fd, ASK, ASK_SIZE, MSG_NOSIGNAL) != (ssize_t)ASK_SIZE) errors++;
    }
    if (sent < count && idle_count) set_timer(timer, start_at + sent * NS / rate);
    if (done + errors == count) break;
    int ready = wait_events(epoll, events);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == timer) {
        read_timer(timer);
        continue;
      }
      ssize_t size = recv(fd, scratch, sizeof scratch, 0);
      if (size <= 0) fail("a kept connection ended");
      clients[fd].got += (uint64_t)size;
      if (clients[fd].got < ANSWER_SIZE) continue;
      ns[done++] = now() - clients[fd].from_ns;
      idle[idle_count++] = fd;
    }
  }
  // The first fifth warms caches and compilers.
  size_t skipped = done / 5;
  printf("{\"count\":%zu,\"errors\":%zu,\"seconds\":%.6f,", done, errors, (double)(now() - start_at) / 1e9);
  print_quantiles(ns + skipped, done - skipped);
  printf("}\n");
  return 0;
}

// ---- bulk -----------------------------------------------------------------------

static int bulk(int port, size_t connection_count, uint64_t bytes) {
  int epoll = epoll_new();
  struct epoll_event events[EVENT_MAX];
  char text[32];
  int text_size = snprintf(text, sizeof text, "B%llu\n", (unsigned long long)bytes);
  size_t done = 0, errors = 0;
  uint64_t total = 0, start_at = now();
  for (size_t i = 0; i < connection_count; i++)
    if (open_client(epoll, port, text, (size_t)text_size) < 0) fail("a connection failed");
  while (done < connection_count) {
    int ready = wait_events(epoll, events);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      bool open = send_text(fd);
      while (open) {
        // MSG_TRUNC drops the bytes in the kernel: the sink costs as little as it can.
        ssize_t size = recv(fd, scratch, sizeof scratch, MSG_TRUNC);
        if (size > 0) clients[fd].got += (uint64_t)size;
        else if (size < 0 && would_block()) break;
        else open = false;
      }
      if (open) continue;
      if (clients[fd].got != bytes) errors++;
      total += clients[fd].got;
      close(fd);
      done++;
    }
  }
  printf("{\"bytes\":%llu,\"errors\":%zu,\"seconds\":%.6f}\n", (unsigned long long)total, errors,
         (double)(now() - start_at) / 1e9);
  return 0;
}

// ---- idle -----------------------------------------------------------------------

static int idle(int port) {
  char line[32];
  size_t held = 0, errors = 0;
  int *pairs = allocate(FD_MAX, sizeof *pairs);
  while (fgets(line, sizeof line, stdin)) {
    size_t served = 0;
    line[strcspn(line, "\n")] = 0;
    if (!strcmp(line, "ask")) {
      for (size_t i = 0; i < held; i++) served += ask(pairs[i]);
    } else {
      for (long more = number(line, 0, FD_MAX); more > 0; more--) {
        int fd = open_pair(port);
        if (fd < 0) errors++;
        else pairs[held++] = fd;
      }
    }
    printf("{\"held\":%zu,\"errors\":%zu,\"served\":%zu}\n", held, errors, served);
    fflush(stdout);
  }
  return 0;
}

// ---- replay: open loop over a recorded trace ----------------------------------------

struct arrival {
  uint64_t at_ns;
  uint64_t service_ns;
};

static struct arrival *read_trace(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path);
  fseek(file, 0, SEEK_END);
  *count = (size_t)ftell(file) / sizeof(struct arrival);
  rewind(file);
  struct arrival *trace = allocate(*count, sizeof *trace);
  if (fread(trace, sizeof *trace, *count, file) != *count) fail(path);
  fclose(file);
  return trace;
}

static void write_times(const char *path, const uint64_t *ns, size_t count) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(ns, sizeof *ns, count, file) != count || fclose(file)) fail(path);
}

// A response time counts from the intended arrival; 0 stands for a connection that failed.
static int replay(int port, const char *trace_path, const char *out_path) {
  size_t count;
  struct arrival *trace = read_trace(trace_path, &count);
  uint64_t *response = allocate(count, sizeof *response);
  uint64_t *late = allocate(count, sizeof *late);
  int epoll = epoll_new();
  int timer = timer_new(epoll);
  struct epoll_event events[EVENT_MAX];
  size_t sent = 0, done = 0, errors = 0;
  uint64_t start_at = now() + 20000000, at;
  be_punctual(1);
  while (done < count) {
    while (sent < count && start_at + trace[sent].at_ns <= (at = now())) {
      char text[32];
      int text_size = snprintf(text, sizeof text, "S%llu\n", (unsigned long long)trace[sent].service_ns);
      int fd = open_client(epoll, port, text, (size_t)text_size);
      late[sent] = at - start_at - trace[sent].at_ns;
      if (fd < 0) done++, errors++;
      else clients[fd].index = sent;
      sent++;
    }
    if (done == count) break;
    if (sent < count) set_timer(timer, start_at + trace[sent].at_ns);
    int ready = wait_events(epoll, events);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == timer) {
        read_timer(timer);
        continue;
      }
      struct client *client = &clients[fd];
      bool open = send_text(fd);
      while (open) {
        ssize_t size = recv(fd, scratch, sizeof scratch, 0);
        if (size < 0 && would_block()) break;
        if (size <= 0) open = false;
        else if ((client->got += (uint64_t)size) >= 3 && !response[client->index])
          response[client->index] = now() - start_at - trace[client->index].at_ns;
      }
      if (open) continue;
      if (!response[client->index]) errors++;
      close(fd);
      done++;
    }
  }
  write_times(out_path, response, count);
  qsort(late, count, sizeof *late, by_size);
  printf("{\"count\":%zu,\"errors\":%zu,\"seconds\":%.6f,\"lateP50Us\":%.1f,\"lateP99Us\":%.1f}\n",
         count - errors, errors, (double)(now() - start_at) / 1e9, us_at(late, count, 0.5),
         us_at(late, count, 0.99));
  return 0;
}

// ---- the command line ---------------------------------------------------------------

static int child(int cpu, char **command) {
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) fail("sched_setaffinity");
  }
  // SIGTERM, not SIGKILL: a master process must be able to end its workers.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  execvp(command[0], command);
  fail(command[0]);
  return 1;
}

// A core that sleeps takes tens of microseconds to wake, in a virtual machine more, and every timer of
// the load side pays it. This process runs only when the core would sleep, ten minutes at most.
static int awake(void) {
  struct sched_param param = {0};
  if (sched_setscheduler(0, SCHED_IDLE, &param)) fail("sched_setscheduler");
  alarm(600);
  for (volatile bool on = true; on;) continue;
  return 0;
}

static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit)) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int count, char **words) {
  const char *name = count > 1 ? words[1] : "";
  if (!strcmp(name, "child") && count > 3) return child((int)number(words[2], -1, 1023), words + 3);
  if (!strcmp(name, "awake") && count == 2) return awake();
  raise_descriptor_limit();
  signal(SIGPIPE, SIG_IGN);
  if (!strcmp(name, "serve") && count == 4)
    serve((int)number(words[2], 1, 64), !strcmp(words[3], "keep"));
  if (!strcmp(name, "slots") && count == 4)
    slots((int)number(words[2], 1, 64), !strcmp(words[3], "any"));
  int port = count > 2 ? (int)number(words[2], 1, 65535) : 0;
  bool bursts = !strcmp(name, "burst");
  if ((bursts || !strcmp(name, "connect")) && count == 6)
    return connect_loop(port, (size_t)number(words[3], 1, 1000000), (size_t)number(words[4], 1, 10000), bursts,
                        words[5]);
  if (!strcmp(name, "pace") && count == 6)
    return pace(port, (uint64_t)number(words[3], 1, 1000000), (size_t)number(words[4], 1, 10000000),
                (size_t)number(words[5], 1, 10000));
  if (!strcmp(name, "bulk") && count == 5)
    return bulk(port, (size_t)number(words[3], 1, 10000), (uint64_t)number(words[4], 1, 1l << 40));
  if (!strcmp(name, "idle") && count == 3) return idle(port);
  if (!strcmp(name, "replay") && count == 5) return replay(port, words[3], words[4]);
  fprintf(stderr, "load: see the head of load.c\n");
  return 2;
}
