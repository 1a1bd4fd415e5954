#include "tests/labs/wire/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

enum {
    LONGEST_FRAME = ETH_FRAME_LEN, /* 1500 bytes and the Ethernet header */
    SLOT_SIZE = 2048,              /* of the ring: a frame and what the kernel says of it */
    SLOTS = 4096,
    BLOCK_SIZE = 64 * 1024,
    CAPTURE_LIMIT = 1 << 18,
    BATCH = 64, /* frames of one direction before the other has its turn */
    DEFAULT_QUEUE = 1000,
};
static const int64_t SECOND = 1000000000;

/* A frame in the cable. */
struct parcel {
    struct parcel *next;
    int64_t entered_ns; /* its last bit is in the cable: it no longer waits for its turn */
    int64_t due_ns;     /* its last bit is at the other end */
    size_t number;      /* of its frame in the capture, or CAPTURE_LIMIT */
    uint32_t size;
    uint8_t bytes[];
};

/* Parcels, first come, first out. */
struct queue {
    struct parcel *first, *last;
};

struct direction {
    struct cable cable;
    uint64_t random;
    int64_t free_ns; /* when the last frame before will be in the cable */
    struct queue under_way;
    struct parcel *waiting; /* the first of those that may still wait for their turn */
    int waiting_count;
    struct queue held;
    int from, to;     /* packet sockets */
    uint8_t *ring;    /* frames that came, as the kernel put them there (packet(7)) */
    unsigned at_slot; /* where the next one will be */
};

struct wire {
    pthread_t relay;
    pthread_mutex_t lock;           /* around all that follows */
    struct direction directions[2]; /* by the enum host that it comes from */
    bool cut, stop;
    wire_judge *judge;
    void *judge_context;
    struct frame *frames;
    size_t count, missed;
    int wake; /* an eventfd, which ends the relay's waiting */
};

static void put(struct queue *queue, struct parcel *parcel)
{
    parcel->next = NULL;
    if (queue->last == NULL)
        queue->first = parcel;
    else
        queue->last->next = parcel;
    queue->last = parcel;
}

static struct parcel *take(struct queue *queue)
{
    struct parcel *parcel = queue->first;

    queue->first = parcel->next;
    if (queue->first == NULL)
        queue->last = NULL;
    return parcel;
}

static void drop_all(struct queue *queue)
{
    while (queue->first != NULL)
        free(take(queue));
}

/* From 0 up to, not with, 1: xorshift64*, which is enough for a coin. */
static double next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * UINT64_C(2685821657736338717)) >> 11) / (double)(UINT64_C(1) << 53);
}

static int64_t real_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* What to add to clock_ns() for CLOCK_REALTIME. Whoever is interrupted between the two would be
   wrong by as long as that takes: the shortest of some tries counts. */
static int64_t real_offset(void)
{
    int64_t offset = 0, shortest = INT64_MAX;

    for (int i = 0; i < 5 && shortest > 1000; i++) {
        int64_t before = clock_ns(), real = real_ns(), after = clock_ns();
        if (after - before < shortest) {
            shortest = after - before;
            offset = real - before;
        }
    }
    return offset;
}

static void set_fate(struct wire *wire, size_t number, enum frame_fate fate, int64_t delivered_ns)
{
    if (number < wire->count) {
        wire->frames[number].fate = fate;
        wire->frames[number].delivered_ns = delivered_ns;
    }
}

/* Puts a frame into the cable, behind those that wait for their turn, or drops it where they
   are too many. */
static void enter_cable(struct wire *wire, struct direction *direction, struct parcel *parcel,
                        int64_t now)
{
    const struct cable *cable = &direction->cable;
    int64_t entered = now;

    while (direction->waiting != NULL && direction->waiting->entered_ns <= now) {
        direction->waiting = direction->waiting->next;
        direction->waiting_count--;
    }
    if (cable->rate > 0) {
        if (direction->waiting_count >= (cable->queue > 0 ? cable->queue : DEFAULT_QUEUE)) {
            set_fate(wire, parcel->number, FRAME_QUEUE_FULL, 0);
            free(parcel);
            return;
        }
        if (entered < direction->free_ns)
            entered = direction->free_ns;
        entered += (int64_t)parcel->size * 8 * SECOND / cable->rate;
        direction->free_ns = entered;
    }
    parcel->entered_ns = entered;
    parcel->due_ns = entered + cable->delay_ns;
    /* A cable that has just become shorter lets nobody overtake. */
    if (direction->under_way.last != NULL && direction->under_way.last->due_ns > parcel->due_ns)
        parcel->due_ns = direction->under_way.last->due_ns;
    put(&direction->under_way, parcel);
    if (direction->waiting == NULL && entered > now)
        direction->waiting = parcel;
    if (direction->waiting != NULL)
        direction->waiting_count++;
    set_fate(wire, parcel->number, FRAME_UNDER_WAY, 0);
}

/* What happens to a frame that has just come. */
static void take_in(struct wire *wire, enum host from, const uint8_t *bytes, uint32_t size,
                    int64_t sent_ns)
{
    struct direction *direction = &wire->directions[from];
    struct frame beyond, *frame = &beyond;
    size_t number = CAPTURE_LIMIT;

    if (wire->count < CAPTURE_LIMIT) {
        number = wire->count++;
        frame = &wire->frames[number];
    } else {
        wire->missed++;
    }
    *frame = (struct frame){.sent_ns = sent_ns, .from = from, .size = size};
    frame->kept = size < sizeof frame->bytes ? size : (uint32_t)sizeof frame->bytes;
    memcpy(frame->bytes, bytes, frame->kept);
    frame->tcp = segment_read(frame->bytes, frame->kept, &frame->segment);

    enum wire_verdict verdict = WIRE_PASS;
    if (wire->judge != NULL)
        verdict = wire->judge(frame, wire->judge_context);
    bool lost =
        direction->cable.loss > 0 && next_random(&direction->random) < direction->cable.loss;
    if (size > LONGEST_FRAME)
        frame->fate = FRAME_TOO_LONG;
    else if (wire->cut)
        frame->fate = FRAME_CUT;
    else if (verdict == WIRE_DROP)
        frame->fate = FRAME_DROPPED;
    else if (lost)
        frame->fate = FRAME_LOST;
    else if (verdict == WIRE_HOLD)
        frame->fate = FRAME_HELD;
    if (frame->fate != FRAME_UNDER_WAY && frame->fate != FRAME_HELD)
        return;

    struct parcel *parcel = malloc(sizeof *parcel + size);
    if (parcel == NULL) {
        frame->fate = FRAME_QUEUE_FULL;
        return;
    }
    parcel->number = number;
    parcel->size = size;
    memcpy(parcel->bytes, bytes, size);
    if (frame->fate == FRAME_HELD)
        put(&direction->held, parcel);
    else
        enter_cable(wire, direction, parcel, sent_ns);
}

/* Takes in what the kernel has put into the ring of one direction. Returns whether there may be
   more. */
static bool receive_frames(struct wire *wire, enum host from)
{
    struct direction *direction = &wire->directions[from];
    int64_t offset = real_offset(); /* the kernel's times are CLOCK_REALTIME */

    for (int i = 0; i < BATCH; i++) {
        void *slot = direction->ring + (size_t)direction->at_slot * SLOT_SIZE;
        struct tpacket2_hdr *header = slot;
        if (!(__atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
            return false;
        take_in(wire, from, (uint8_t *)slot + header->tp_mac, header->tp_len,
                header->tp_sec * SECOND + header->tp_nsec - offset);
        __atomic_store_n(&header->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        direction->at_slot = (direction->at_slot + 1) % SLOTS;
    }
    return true;
}

/* Gives the other host what has arrived by now. Returns when the next frame will, or the end of
   time. */
static int64_t deliver_frames(struct wire *wire, enum host from)
{
    struct direction *direction = &wire->directions[from];
    int64_t now = clock_ns();

    while (direction->under_way.first != NULL) {
        if (direction->under_way.first->due_ns > now) {
            now = clock_ns();
            if (direction->under_way.first->due_ns > now)
                return direction->under_way.first->due_ns;
        }
        struct parcel *parcel = take(&direction->under_way);
        if (direction->waiting == parcel) {
            direction->waiting = parcel->next;
            direction->waiting_count--;
        }
        set_fate(wire, parcel->number, FRAME_DELIVERED, clock_ns());
        /* A host that has no room for it loses it, as anywhere. */
        if (send(direction->to, parcel->bytes, parcel->size, MSG_DONTWAIT) < 0)
            set_fate(wire, parcel->number, FRAME_QUEUE_FULL, 0);
        free(parcel);
    }
    return INT64_MAX;
}

static void *relay_frames(void *argument)
{
    struct wire *wire = argument;
    struct pollfd events[] = {{.fd = wire->directions[HOST_CLIENT].from, .events = POLLIN},
                              {.fd = wire->directions[HOST_SERVER].from, .events = POLLIN},
                              {.fd = wire->wake, .events = POLLIN}};

    prctl(PR_SET_NAME, "wire");
    prctl(PR_SET_TIMERSLACK, 1UL); /* ns; by default a thread may be woken 50 µs late */
    for (;;) {
        bool more = false;
        int64_t next = INT64_MAX;

        pthread_mutex_lock(&wire->lock);
        for (enum host from = HOST_CLIENT; from <= HOST_SERVER; from++) {
            more |= receive_frames(wire, from);
            int64_t due = deliver_frames(wire, from);
            next = due < next ? due : next;
        }
        bool stop = wire->stop;
        pthread_mutex_unlock(&wire->lock);
        if (stop)
            return NULL;

        int64_t wait = more ? 0 : next - clock_ns();
        wait = wait < 0 ? 0 : wait;
        wait = wait > SECOND ? SECOND : wait;
        struct timespec limit = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
        if (ppoll(events, 3, &limit, NULL) > 0 && events[2].revents != 0) {
            eventfd_t ignored;
            eventfd_read(wire->wake, &ignored);
        }
    }
}

/* A packet socket on one end of the cables, which tells how it failed. */
static int open_end(const char *interface, uint16_t protocol)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(protocol),
                                  .sll_ifindex = (int)if_nametoindex(interface)};
    int end = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

    if (end < 0)
        die("packet socket (the kernel's part for it may not be loaded: sudo modprobe af_packet)");
    int on = 1;
    if (protocol != 0) {
        int version = TPACKET_V2;
        struct tpacket_req ring = {.tp_block_size = BLOCK_SIZE,
                                   .tp_block_nr = SLOTS / (BLOCK_SIZE / SLOT_SIZE),
                                   .tp_frame_size = SLOT_SIZE,
                                   .tp_frame_nr = SLOTS};
        /* What we send ourselves must not come back as received. */
        if (setsockopt(end, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0 ||
            setsockopt(end, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0 ||
            setsockopt(end, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) < 0)
            die("packet socket on %s", interface);
    } else {
        /* The end of a cable that was brought up first gets its queue when a worker of the kernel
           comes to it. What is sent before that is lost, and send() does not say so; what goes
           past the queue is not (packet(7)). */
        if (setsockopt(end, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) < 0)
            die("packet socket on %s", interface);
    }
    if (bind(end, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind the packet socket to %s", interface);
    return end;
}

static void open_direction(struct direction *direction, const char *from, const char *to)
{
    direction->from = open_end(from, ETH_P_ALL);
    direction->to = open_end(to, 0);
    direction->ring = mmap(NULL, (size_t)SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                           direction->from, 0);
    if (direction->ring == MAP_FAILED)
        die("map the ring of %s", from);
}

/* The seed is mixed with the direction, so that the two do not lose the same frames. */
static void set_cable(struct wire *wire, enum host from, const struct cable *cable)
{
    wire->directions[from].cable = *cable;
    wire->directions[from].random = (2 * cable->seed + from + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

struct wire *wire_start(const struct cable *cable)
{
    struct wire *wire = calloc(1, sizeof *wire);

    if (wire == NULL)
        die("allocate the wire");
    /* Memory that is not touched costs nothing. */
    wire->frames = mmap(NULL, CAPTURE_LIMIT * sizeof *wire->frames, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (wire->frames == MAP_FAILED)
        die("allocate the capture");
    wire->wake = eventfd(0, EFD_CLOEXEC);
    if (wire->wake < 0)
        die("eventfd");
    pthread_mutex_init(&wire->lock, NULL);
    set_cable(wire, HOST_CLIENT, cable);
    set_cable(wire, HOST_SERVER, cable);

    hosts_enter(HOST_WIRE);
    open_direction(&wire->directions[HOST_CLIENT], WIRE_TO_CLIENT, WIRE_TO_SERVER);
    open_direction(&wire->directions[HOST_SERVER], WIRE_TO_SERVER, WIRE_TO_CLIENT);
    errno = pthread_create(&wire->relay, NULL, relay_frames, wire);
    if (errno != 0)
        die("start the relay");
    hosts_enter(HOST_CLIENT);
    return wire;
}

static void wake(struct wire *wire)
{
    eventfd_write(wire->wake, 1);
}

void wire_stop(struct wire *wire)
{
    pthread_mutex_lock(&wire->lock);
    wire->stop = true;
    pthread_mutex_unlock(&wire->lock);
    wake(wire);
    pthread_join(wire->relay, NULL);
    for (enum host from = HOST_CLIENT; from <= HOST_SERVER; from++) {
        struct direction *direction = &wire->directions[from];
        drop_all(&direction->under_way);
        drop_all(&direction->held);
        munmap(direction->ring, (size_t)SLOTS * SLOT_SIZE);
        close(direction->from);
        close(direction->to);
    }
    munmap(wire->frames, CAPTURE_LIMIT * sizeof *wire->frames);
    close(wire->wake);
    pthread_mutex_destroy(&wire->lock);
    free(wire);
}

void wire_set(struct wire *wire, enum host from, const struct cable *cable)
{
    pthread_mutex_lock(&wire->lock);
    set_cable(wire, from, cable);
    pthread_mutex_unlock(&wire->lock);
}

void wire_cut(struct wire *wire, bool cut)
{
    pthread_mutex_lock(&wire->lock);
    wire->cut = cut;
    pthread_mutex_unlock(&wire->lock);
}

void wire_set_judge(struct wire *wire, wire_judge *judge, void *context)
{
    pthread_mutex_lock(&wire->lock);
    wire->judge = judge;
    wire->judge_context = context;
    pthread_mutex_unlock(&wire->lock);
}

void wire_release(struct wire *wire)
{
    pthread_mutex_lock(&wire->lock);
    for (enum host from = HOST_CLIENT; from <= HOST_SERVER; from++)
        while (wire->directions[from].held.first != NULL)
            enter_cable(wire, &wire->directions[from], take(&wire->directions[from].held),
                        clock_ns());
    pthread_mutex_unlock(&wire->lock);
    wake(wire);
}

size_t wire_count(struct wire *wire, wire_match *match, void *context)
{
    size_t count = 0;

    pthread_mutex_lock(&wire->lock);
    for (size_t i = 0; i < wire->count; i++)
        count += match(&wire->frames[i], context);
    pthread_mutex_unlock(&wire->lock);
    return count;
}

bool wire_is_idle(struct wire *wire)
{
    bool idle = true;

    pthread_mutex_lock(&wire->lock);
    for (enum host from = HOST_CLIENT; from <= HOST_SERVER; from++) {
        const struct direction *direction = &wire->directions[from];
        const struct tpacket2_hdr *next =
            (void *)(direction->ring + (size_t)direction->at_slot * SLOT_SIZE);
        idle = idle && direction->under_way.first == NULL &&
               !(__atomic_load_n(&next->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER);
    }
    pthread_mutex_unlock(&wire->lock);
    return idle;
}

struct capture wire_capture(struct wire *wire)
{
    struct capture capture = {.real_offset = real_offset()};

    pthread_mutex_lock(&wire->lock);
    for (enum host from = HOST_CLIENT; from <= HOST_SERVER; from++) {
        struct tpacket_stats dropped = {0};
        socklen_t size = sizeof dropped;
        /* Frames for which the ring had no room, since this was last asked. */
        if (getsockopt(wire->directions[from].from, SOL_PACKET, PACKET_STATISTICS, &dropped,
                       &size) == 0)
            wire->missed += dropped.tp_drops;
    }
    capture.count = wire->count;
    capture.missed = wire->missed;
    capture.frames = malloc((wire->count + 1) * sizeof *capture.frames);
    if (capture.frames == NULL)
        die("allocate a copy of the capture");
    memcpy(capture.frames, wire->frames, wire->count * sizeof *capture.frames);
    pthread_mutex_unlock(&wire->lock);
    return capture;
}

size_t wire_copy(struct wire *wire, size_t first, struct frame *frames, size_t most)
{
    size_t count = 0;

    pthread_mutex_lock(&wire->lock);
    while (count < most && first + count < wire->count &&
           wire->frames[first + count].fate != FRAME_UNDER_WAY) {
        frames[count] = wire->frames[first + count];
        count++;
    }
    pthread_mutex_unlock(&wire->lock);
    return count;
}

void wire_forget(struct wire *wire)
{
    pthread_mutex_lock(&wire->lock);
    wire->count = wire->missed = 0;
    for (enum host from = HOST_CLIENT; from <= HOST_SERVER; from++) {
        struct queue *queues[] = {&wire->directions[from].under_way, &wire->directions[from].held};
        for (int i = 0; i < 2; i++)
            for (struct parcel *parcel = queues[i]->first; parcel != NULL; parcel = parcel->next)
                parcel->number = CAPTURE_LIMIT;
    }
    pthread_mutex_unlock(&wire->lock);
}

int capture_write(const struct capture *capture, FILE *file)
{
    struct {
        uint32_t magic; /* times in nanoseconds, in the byte order of this machine */
        uint16_t major, minor;
        uint32_t zone, accuracy, longest, link_type;
    } header = {0xa1b23c4d, 2, 4, 0, 0, sizeof capture->frames->bytes, 1 /* Ethernet */};

    fwrite(&header, sizeof header, 1, file);
    for (size_t i = 0; i < capture->count; i++) {
        const struct frame *frame = &capture->frames[i];
        int64_t when = frame->sent_ns + capture->real_offset;
        uint32_t record[] = {(uint32_t)(when / SECOND), (uint32_t)(when % SECOND), frame->kept,
                             frame->size};
        fwrite(record, sizeof record, 1, file);
        fwrite(frame->bytes, frame->kept, 1, file);
    }
    return fflush(file) != 0 || ferror(file) ? -1 : 0;
}
