/* Requests at a steady rate that waits for no answer. Compiled by open_loop.py: Python itself would
   be late by more than what is measured.

   steady_load PORT RATE SECONDS CONNECTIONS REQUEST END: sends the text REQUEST over kept connections
   in turn, and takes what ends with END for an answer. Requests are due in each tenth of a
   millisecond, and a latency counts from then, even if its connection was busy. Prints how many failed, by how many ns the load itself
   was late at most, and then the ns of each answer. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define TICK (SECOND / 10000)
#define PATIENCE (10 * SECOND) /* for the last answers */
#define EVENTS 64

typedef struct {
    int fd; /* -1 once it has failed */
    long next; /* the number of the request that waits for an answer, or will be sent next */
    int busy, got; /* got: bytes of its answer */
    char answer[4096];
} Connection;

static const char *request, *end;
static long connections, due_requests, answered, failed, open_ones;
static long long began, *latencies;
static double gap; /* ns between two requests */
static Connection *all;

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND + at.tv_nsec;
}

static long long due(long number)
{
    return began + (long long)(number * gap) / TICK * TICK;
}

static void stop(const char *why)
{
    perror(why);
    exit(1);
}

/* All that it still had to ask fails with it. */
static void give_up(Connection *one)
{
    close(one->fd);
    one->fd = -1;
    open_ones--;
}

static void ask(Connection *one)
{
    size_t length = strlen(request);
    one->busy = 1;
    one->got = 0;
    if (write(one->fd, request, length) != (ssize_t)length)
        give_up(one);
}

static void hear(Connection *one)
{
    ssize_t came = read(one->fd, one->answer + one->got, sizeof one->answer - one->got);
    if (came <= 0 || !one->busy) {
        give_up(one);
        return;
    }
    one->got += came;
    int rest = one->got - (int)strlen(end);
    if (rest < 0 || memcmp(one->answer + rest, end, strlen(end)))
        return;
    if (memcmp(one->answer, "HTTP/1.1 200 ", 13))
        failed++;
    latencies[answered++] = now() - due(one->next);
    one->busy = 0;
    one->next += connections;
    if (one->next < due_requests)
        ask(one);
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    double rate = atof(argv[2]);
    long total = rate * atof(argv[3]);
    connections = atol(argv[4]);
    request = argv[5];
    end = argv[6];
    gap = SECOND / rate;
    latencies = calloc(total, sizeof *latencies);
    all = calloc(connections, sizeof *all);
    int poll = epoll_create1(0), yes = 1;
    for (long i = 0; i < connections; i++) {
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        all[i].next = i;
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (connect(all[i].fd, (struct sockaddr *)&address, sizeof address))
            stop("connect");
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &wanted);
    }
    long long late = 0, at, until;
    open_ones = connections;
    began = now();
    until = due(total) + PATIENCE;
    while (answered < total && open_ones && (at = now()) < until) {
        while (due_requests < total && at >= due(due_requests)) {
            long long behind = at - due(due_requests);
            late = behind > late ? behind : late;
            Connection *one = &all[due_requests++ % connections];
            if (one->fd >= 0 && !one->busy)
                ask(one);
        }
        long long wait = due_requests < total ? due(due_requests) - now() : SECOND / 10;
        struct timespec timeout = {.tv_nsec = wait > 0 ? wait : 0};
        struct epoll_event events[EVENTS];
        int found = epoll_pwait2(poll, events, EVENTS, &timeout, NULL);
        for (int i = 0; i < found; i++)
            if (((Connection *)events[i].data.ptr)->fd >= 0)
                hear(events[i].data.ptr);
    }
    printf("%ld\n%lld\n", failed + total - answered, late);
    for (long i = 0; i < answered; i++)
        printf("%lld\n", latencies[i]);
    return 0;
}
