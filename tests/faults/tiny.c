/* The fault tests' service: starts within a millisecond, so that a rollback is over within half a second and a thousand of them are affordable.
 *
 *   GET /health   200, or 500 while the file $BAD.RELEASE exists      GET /version   {"release": RELEASE}      GET /metrics   its contents
 *
 * RELEASE is the directory that its program lies in. Each start is one line in $STARTS, written before anything else: release, pid, boot
 * time in ns. That log is the tests' own count of restarts; rollbackd has no part in it. $BAD may hold: "crash" ends the process with 3.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char release[256], bad[4096], metrics[4096];

static void say_started(void) {
  const char *path = getenv("STARTS");
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  char line[400];
  const int length = snprintf(line, sizeof line, "%s %d %lld\n", release, (int)getpid(), now.tv_sec * 1000000000LL + now.tv_nsec);
  const int out = open(path ? path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (out < 0 || write(out, line, (size_t)length) != length) perror("STARTS");
  close(out);
}

/* Whether the file says that this release misbehaves now; one that says "crash" is obeyed. */
static int misbehaves(void) {
  char word[16] = "";
  const int in = open(bad, O_RDONLY | O_CLOEXEC);
  if (in < 0) return 0;
  const ssize_t got = read(in, word, sizeof word - 1);
  close(in);
  if (got >= 5 && strncmp(word, "crash", 5) == 0) _exit(3);
  return 1;
}

static void answer(int client, int status, const char *body) {
  char out[8192];
  const int length = snprintf(out, sizeof out, "HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status, strlen(body), body);
  if (send(client, out, (size_t)length, MSG_NOSIGNAL) < 0) perror("send");
}

static void serve(int client) {
  char request[4096], body[4096] = "";
  size_t have = 0;
  const struct timeval patience = {1, 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  while (have < sizeof request - 1) {
    const ssize_t got = recv(client, request + have, sizeof request - 1 - have, 0);
    if (got <= 0) return;
    request[have += (size_t)got] = 0;
    if (strstr(request, "\r\n\r\n")) break;
  }
  if (strncmp(request, "GET /version", 12) == 0) {
    snprintf(body, sizeof body, "{\"release\": \"%s\"}", release);
    answer(client, 200, body);
  } else if (strncmp(request, "GET /metrics", 12) == 0) {
    const int in = open(metrics, O_RDONLY | O_CLOEXEC);
    const ssize_t got = in < 0 ? -1 : read(in, body, sizeof body - 1);
    body[got > 0 ? got : 0] = 0;
    if (in >= 0) close(in);
    answer(client, 200, body);
  } else {
    answer(client, misbehaves() ? 500 : 200, "health");
  }
}

int main(void) {
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length < 0) return 1;
  self[length] = 0;
  snprintf(release, sizeof release, "%s", basename(dirname(self)));
  snprintf(bad, sizeof bad, "%s.%s", getenv("BAD") ? getenv("BAD") : "/nonexistent/bad", release);
  snprintf(metrics, sizeof metrics, "%s", getenv("METRICS") ? getenv("METRICS") : "/nonexistent/metrics");
  say_started();
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(getenv("PORT") ? getenv("PORT") : "0"))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
    perror("listen");
    return 1;
  }
  for (;;) {
    struct pollfd wait = {listener, POLLIN, 0};
    if (poll(&wait, 1, 200) == 0) misbehaves(); /* A crash needs no request. */
    if (!(wait.revents & POLLIN)) continue;
    const int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) continue;
    serve(client);
    close(client);
  }
}
