/* A wide-area network between network namespaces: packets from one TUN device reach another late,
 * now and then twice, out of order, or not at all.
 *
 *     emulator SEED DESCRIPTOR:ADDRESS[:NAMESPACE_FILE] ...
 *
 * Each place is an open TUN device (IFF_NO_PI) and the IPv4 address behind it; places are numbered
 * from 0. One thread; nothing spins: epoll waits for packets, commands, and one timer of the
 * nearest packet that is due. Commands come on stdin, a line each, and each is answered by a line:
 *
 *     way FROM TO CUT DELAY_NS JITTER_NS LOSS DUPLICATES BYTES_PER_S
 *                      ->  ok                  in force for every packet read after the answer
 *     counts           ->  CPU_NS WAKEUPS, then for each FROM, TO in turn:
 *                          PACKETS BYTES LOST DUPLICATED LATE_NS_SUM LATE_NS_MAX
 *
 * A cut also loses what is under way in that direction. BYTES_PER_S 0 is no limit. LATE is by how
 * much packets left after they were due.
 *
 * Invariants: what is under way is bounded (PACKETS_MAX; more is lost, as on a full link). Packets
 * of a direction without jitter keep their order. When stdin ends, because its writer closed it or
 * was killed, the devices close, the processes inside the namespaces named are killed, and the
 * namespaces removed: nothing is left of them.
 */

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    PLACES_MAX = 16,
    PACKET_BYTES_MAX = 1600, /* the devices' MTU is 1,500 */
    PACKETS_MAX = 65536,     /* under way at once: 100 MB, touched only as far as needed */
    BURST = 64,              /* from one device before the others have their turn */
    LINE_BYTES_MAX = 256,
};

typedef struct {
    int cut;
    int64_t delay_ns, jitter_ns;
    double loss, duplicates, bytes_per_s;
    int64_t free_at_ns; /* when the last byte that was put on it has left */
    uint64_t packets, bytes, lost, duplicated, late_ns_sum, late_ns_max;
} Way;

typedef struct {
    int descriptor;
    uint32_t address; /* in network order */
    const char *namespace_file;
} Place;

typedef struct {
    uint8_t from, to;
    uint16_t bytes;
    uint8_t data[PACKET_BYTES_MAX];
} Packet;

/* In the order of `due_ns`, and among equals of arrival. */
typedef struct {
    int64_t due_ns;
    uint64_t number;
    uint32_t slot;
} Due;

static Place places[PLACES_MAX];
static int place_count;
static Way ways[PLACES_MAX][PLACES_MAX];
static Packet *packets;
static uint32_t *free_slots; /* a stack, so that the memory touched last is used first */
static int free_count;
static Due *heap;
static int heap_size;
static uint64_t arrivals, wakeups, random_state;
static int64_t armed_ns;

static void die(const char *what) {
    fprintf(stderr, "emulator: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood 2014), as a fraction of 1. */
static double draw(void) {
    uint64_t z = (random_state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static int before(const Due *a, const Due *b) {
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void heap_push(Due due) {
    int at = heap_size++;
    while (at > 0 && before(&due, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = due;
}

static Due heap_pop(void) {
    Due first = heap[0], last = heap[--heap_size];
    int at = 0;
    for (int child; (child = 2 * at + 1) < heap_size; at = child) {
        if (child + 1 < heap_size && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

static void deliver(Way *way, int to, const uint8_t *data, int bytes) {
    ssize_t written;
    do written = write(places[to].descriptor, data, bytes);
    while (written < 0 && errno == EINTR);
    /* A full device, or one that is down, loses packets, as devices do. */
    if (written < 0) {
        way->lost++;
    } else {
        way->packets++;
        way->bytes += bytes;
    }
}

static void send_on(int from, uint32_t slot, int to) {
    Packet *packet = &packets[slot];
    Way *way = &ways[from][to];
    int copies = 1;
    if (way->cut || draw() < way->loss) {
        way->lost++;
        copies = 0;
    } else if (draw() < way->duplicates) {
        way->duplicated++;
        copies = 2;
    }
    int64_t now = now_ns();
    for (int copy = 0; copy < copies; copy++) {
        int64_t due = now + way->delay_ns + (int64_t)(draw() * way->jitter_ns);
        if (way->bytes_per_s > 0) {
            int64_t begins = way->free_at_ns > now ? way->free_at_ns : now;
            way->free_at_ns = begins + (int64_t)(packet->bytes * 1e9 / way->bytes_per_s);
            due += way->free_at_ns - now;
        }
        if (due <= now) {
            deliver(way, to, packet->data, packet->bytes);
            continue;
        }
        uint32_t kept = slot;
        if (copy + 1 < copies) { /* the last copy keeps the slot it was read into */
            if (free_count == 0) {
                way->lost++;
                continue;
            }
            kept = free_slots[--free_count];
            memcpy(packets[kept].data, packet->data, packet->bytes);
        }
        packets[kept].from = from;
        packets[kept].to = to;
        packets[kept].bytes = packet->bytes;
        heap_push((Due){due, arrivals++, kept});
        if (kept == slot) return;
    }
    free_slots[free_count++] = slot;
}

static void read_packets(int from) {
    for (int count = 0; count < BURST; count++) {
        static uint8_t lost[PACKET_BYTES_MAX];
        int full = free_count == 0;
        uint32_t slot = full ? 0 : free_slots[free_count - 1];
        uint8_t *data = full ? lost : packets[slot].data;
        ssize_t bytes = read(places[from].descriptor, data, PACKET_BYTES_MAX);
        if (bytes < 0) {
            if (errno == EINTR) continue;
            /* EIO, EBADFD: the device is down. */
            return;
        }
        if (bytes < 20 || data[0] >> 4 != 4) continue; /* not IPv4 */
        uint32_t address;
        memcpy(&address, data + 16, 4);
        for (int to = 0; to < place_count; to++) {
            if (places[to].address != address || to == from) continue;
            if (full) {
                ways[from][to].lost++;
            } else {
                free_count--;
                packets[slot].bytes = bytes;
                send_on(from, slot, to);
            }
            break;
        }
    }
}

static void deliver_due(int64_t now) {
    while (heap_size > 0 && heap[0].due_ns <= now) {
        Due due = heap_pop();
        Packet *packet = &packets[due.slot];
        Way *way = &ways[packet->from][packet->to];
        if (way->cut) {
            way->lost++;
        } else {
            uint64_t late = now - due.due_ns;
            way->late_ns_sum += late;
            if (late > way->late_ns_max) way->late_ns_max = late;
            deliver(way, packet->to, packet->data, packet->bytes);
        }
        free_slots[free_count++] = due.slot;
    }
}

static void arm(int timer) {
    int64_t nearest = heap_size > 0 ? heap[0].due_ns : 0;
    if (nearest == armed_ns) return;
    struct itimerspec at = {.it_value = {nearest / 1000000000, nearest % 1000000000}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL) < 0) die("timerfd_settime");
    armed_ns = nearest;
}

static void obey(const char *line) {
    int from, to;
    Way way = {0};
    int got = sscanf(line, "way %d %d %d %ld %ld %lf %lf %lf", &from, &to, &way.cut, &way.delay_ns,
                     &way.jitter_ns, &way.loss, &way.duplicates, &way.bytes_per_s);
    if (got == 8 && from >= 0 && from < place_count && to >= 0 && to < place_count) {
        Way *there = &ways[from][to];
        there->cut = way.cut;
        there->delay_ns = way.delay_ns;
        there->jitter_ns = way.jitter_ns;
        there->loss = way.loss;
        there->duplicates = way.duplicates;
        /* What queued up on a slow link does not delay a faster one. */
        if (there->bytes_per_s != way.bytes_per_s) there->free_at_ns = 0;
        there->bytes_per_s = way.bytes_per_s;
        puts("ok");
    } else if (strcmp(line, "counts") == 0) {
        struct timespec cpu;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        printf("%lld %llu", cpu.tv_sec * 1000000000LL + cpu.tv_nsec, (unsigned long long)wakeups);
        for (from = 0; from < place_count; from++)
            for (to = 0; to < place_count; to++) {
                const Way *w = &ways[from][to];
                printf(" %lu %lu %lu %lu %lu %lu", w->packets, w->bytes, w->lost, w->duplicated,
                       w->late_ns_sum, w->late_ns_max);
            }
        putchar('\n');
    } else {
        printf("error: not understood: %s\n", line);
    }
    fflush(stdout);
}

/* Returns 0 when there will be no more. */
static int read_commands(void) {
    static char line[LINE_BYTES_MAX];
    static int length;
    char got[4096];
    ssize_t bytes = read(0, got, sizeof got);
    if (bytes < 0) return errno == EINTR || errno == EAGAIN;
    for (ssize_t at = 0; at < bytes; at++) {
        if (got[at] == '\n') {
            line[length] = 0;
            obey(line);
            length = 0;
        } else if (length < LINE_BYTES_MAX - 1) {
            line[length++] = got[at];
        }
    }
    return bytes > 0;
}

/* Whoever was to end the processes inside may have been killed itself. */
static void kill_inside(const char *namespace_file) {
    struct stat namespace, own, of_process;
    if (stat(namespace_file, &namespace) < 0 || stat("/proc/self/ns/net", &own) < 0) return;
    /* The file is a plain one if its namespace was removed: no process is in that. */
    if (namespace.st_dev != own.st_dev || namespace.st_ino == own.st_ino) return;
    DIR *processes = opendir("/proc");
    if (!processes) return;
    for (struct dirent *entry; (entry = readdir(processes));) {
        char path[64];
        int pid = atoi(entry->d_name);
        if (pid <= 1) continue;
        snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
        if (stat(path, &of_process) == 0 && of_process.st_dev == namespace.st_dev &&
            of_process.st_ino == namespace.st_ino)
            kill(pid, SIGKILL);
    }
    closedir(processes);
}

/* Told when it has run for a second without once waiting: then it takes turns like everybody. */
static void yield_first_turn(int signal_number) {
    (void)signal_number;
    struct sched_param usual = {0};
    sched_setscheduler(0, SCHED_OTHER, &usual);
}

static void watch(int epoll, int descriptor, int tag) {
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = tag};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &wanted) < 0) die("epoll_ctl");
}

static void add_place(char *word) {
    char *address = strchr(word, ':');
    if (place_count == PLACES_MAX || !address) {
        errno = EINVAL;
        die(word);
    }
    *address++ = 0;
    char *file = strchr(address, ':');
    if (file) *file++ = 0;
    Place *place = &places[place_count++];
    place->descriptor = atoi(word);
    place->namespace_file = file;
    if (inet_pton(AF_INET, address, &place->address) != 1) {
        errno = EINVAL;
        die(address);
    }
    int flags = fcntl(place->descriptor, F_GETFL);
    if (flags < 0 || fcntl(place->descriptor, F_SETFL, flags | O_NONBLOCK) < 0) die("fcntl");
}

int main(int argc, char **argv) {
    enum { STDIN = PLACES_MAX, TIMER };
    if (argc < 3) {
        fprintf(stderr, "usage: emulator SEED DESCRIPTOR:ADDRESS[:NAMESPACE_FILE] ...\n");
        return 2;
    }
    random_state = strtoull(argv[1], NULL, 10);
    for (int at = 2; at < argc; at++) add_place(argv[at]);
    packets = malloc(sizeof(Packet) * PACKETS_MAX);
    free_slots = malloc(sizeof *free_slots * PACKETS_MAX);
    heap = malloc(sizeof *heap * PACKETS_MAX);
    if (!packets || !free_slots || !heap) die("memory");
    while (free_count < PACKETS_MAX) {
        free_slots[free_count] = PACKETS_MAX - 1 - free_count;
        free_count++;
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll < 0 || timer < 0) die("epoll, timerfd");
    watch(epoll, 0, STDIN);
    watch(epoll, timer, TIMER);
    for (int place = 0; place < place_count; place++) watch(epoll, places[place].descriptor, place);
    /* A wire does not wait for a busy processor. Where that is not allowed, it does. */
    struct rlimit without_a_wait = {.rlim_cur = 1000000, .rlim_max = RLIM_INFINITY}; /* us */
    signal(SIGXCPU, yield_first_turn);
    setrlimit(RLIMIT_RTTIME, &without_a_wait);
    struct sched_param priority = {.sched_priority = 1};
    const char *turn = "its turn comes first";
    if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0) {
        turn = setpriority(PRIO_PROCESS, 0, -20) < 0 ? "its turn comes like others'"
                                                     : "its turn comes soon";
    }
    printf("ready: %s\n", turn);
    fflush(stdout);

    for (int going_on = 1; going_on;) {
        struct epoll_event events[PLACES_MAX + 2];
        arm(timer);
        int count = epoll_wait(epoll, events, PLACES_MAX + 2, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        wakeups++;
        deliver_due(now_ns());
        for (int at = 0; at < count; at++) {
            if (events[at].data.fd == STDIN) {
                going_on = read_commands();
            } else if (events[at].data.fd == TIMER) {
                uint64_t times;
                if (read(timer, &times, sizeof times) == sizeof times) armed_ns = 0;
            } else {
                read_packets(events[at].data.fd);
            }
        }
        deliver_due(now_ns());
    }
    for (int place = 0; place < place_count; place++) {
        close(places[place].descriptor);
        if (!places[place].namespace_file) continue;
        kill_inside(places[place].namespace_file);
        umount2(places[place].namespace_file, MNT_DETACH);
        unlink(places[place].namespace_file);
    }
    return 0;
}
