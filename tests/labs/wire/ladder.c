#include "tests/labs/wire/ladder.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

/* One direction of a connection, as far as it was seen. */
struct stream {
    bool seen;
    uint32_t first; /* the sequence number of the SYN, so that data begins at 1 */
    uint32_t next;  /* behind all that was sent so far, counted from first */
    uint8_t scale;  /* of its windows, where its SYN was seen */
    bool scales, syn_seen;
};

struct connection {
    uint16_t client_port, server_port;
    struct stream streams[2]; /* by enum host */
};

/* An arrow: a segment, or several that are alike. */
struct arrow {
    int64_t sent_ns, delivered_ns, last_ns; /* last_ns: when the last of them was sent */
    enum host from;
    enum frame_fate fate;
    size_t connection;
    unsigned segments;
    uint32_t from_byte, to_byte, bytes; /* of its data */
    uint8_t flags;
    bool again, closed; /* closed: its window is 0 */
    char label[96];
    const struct frame *frame;          /* the segment, the first of several */
    uint32_t sequence, acknowledgement; /* counted from the first of their stream */
    uint64_t window;                    /* in bytes; 0 with an unknown scale */
    bool window_known, acknowledgement_known;
};

/* The rows of a ladder are in the order of the client's time, where that is known. */
static int64_t client_time(const struct arrow *arrow)
{
    return arrow->from == HOST_SERVER && arrow->delivered_ns != 0 ? arrow->delivered_ns
                                                                  : arrow->sent_ns;
}

static int compare_arrows(const void *left, const void *right)
{
    int64_t a = client_time(left), b = client_time(right);

    return a != b ? (a > b) - (a < b) : (left > right) - (left < right);
}

struct drawing {
    struct arrow *arrows;
    size_t count, left_out;
    struct connection *connections;
    size_t connection_count;
};

static size_t find_connection(struct drawing *drawing, const struct frame *frame)
{
    bool client = frame->from == HOST_CLIENT;
    uint16_t client_port = client ? frame->segment.source_port : frame->segment.destination_port;
    uint16_t server_port = client ? frame->segment.destination_port : frame->segment.source_port;
    size_t i = 0;

    while (i < drawing->connection_count && (drawing->connections[i].client_port != client_port ||
                                             drawing->connections[i].server_port != server_port))
        i++;
    if (i == drawing->connection_count) {
        drawing->connections[i] =
            (struct connection){.client_port = client_port, .server_port = server_port};
        drawing->connection_count++;
    }
    return i;
}

static void __attribute__((format(printf, 2, 3))) append(char label[96], const char *format, ...)
{
    size_t length = strlen(label);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(label + length, 96 - length, format, arguments);
    va_end(arguments);
}

/* Fills in what a segment is, and takes note of what was sent. */
static void describe(struct arrow *arrow, struct connection *connection, const struct frame *frame)
{
    const struct segment *segment = &frame->segment;
    struct stream *mine = &connection->streams[frame->from];
    struct stream *other = &connection->streams[1 - frame->from];
    bool control = (segment->flags & (SEGMENT_SYN | SEGMENT_FIN | SEGMENT_RST)) != 0;

    if (!mine->seen || (segment->flags & SEGMENT_SYN && segment->sequence != mine->first)) {
        uint32_t first = segment->sequence - (segment->flags & SEGMENT_SYN ? 0 : 1);
        *mine = (struct stream){.seen = true, .first = first};
        if (!(segment->flags & SEGMENT_SYN))
            mine->next = 1;
    }
    if (segment->flags & SEGMENT_SYN) {
        mine->syn_seen = true;
        mine->scales = segment->scales;
        mine->scale = segment->scale;
    }
    uint32_t start = segment->sequence - mine->first;
    uint32_t data = start + (segment->flags & SEGMENT_SYN ? 1 : 0); /* a SYN takes a number */
    uint32_t end = data + segment->payload + (segment->flags & SEGMENT_FIN ? 1 : 0);
    bool probe = !control && segment->payload == 0 && start + 1 == mine->next;
    bool again = end != start && (int32_t)(end - mine->next) <= 0 && !probe;

    arrow->flags = segment->flags;
    arrow->again = again;
    arrow->closed = segment->window == 0 && (segment->flags & (SEGMENT_SYN | SEGMENT_RST)) == 0;
    arrow->bytes = segment->payload;
    arrow->from_byte = data;
    arrow->to_byte = data + segment->payload - 1;
    arrow->frame = frame;
    arrow->sequence = start;
    arrow->acknowledgement = segment->acknowledgement - other->first;
    arrow->acknowledgement_known = other->seen && segment->flags & SEGMENT_ACK;
    /* Windows are scaled where both ends offered it, but never in a SYN (RFC 7323, 2.2). */
    bool scaled = mine->scales && other->scales && !(segment->flags & SEGMENT_SYN);
    arrow->window_known = segment->flags & SEGMENT_SYN || (mine->syn_seen && other->syn_seen);
    arrow->window = (uint64_t)segment->window << (scaled && mine->scale < 15 ? mine->scale : 0);
    segment_flags_text(segment->flags, arrow->label, sizeof arrow->label);
    if (segment->payload == 1)
        append(arrow->label, ", 1 byte: %u", data);
    else if (segment->payload > 1)
        append(arrow->label, ", %u bytes: %u to %u", segment->payload, data, arrow->to_byte);
    else if (!control && other->seen)
        append(arrow->label, " %u", segment->acknowledgement - other->first);
    if (segment->cookie > 0)
        append(arrow->label, segment->cookie == 1 ? " (asks for a cookie)" : " (with a cookie)");
    if (arrow->closed)
        append(arrow->label, ", window 0");
    if (probe)
        append(arrow->label, " (probe)");
    else if (again)
        append(arrow->label, " (again)");
    if ((int32_t)(end - mine->next) > 0)
        mine->next = end;
}

static bool alike(const struct arrow *one, const struct arrow *other)
{
    uint8_t flags = one->flags & (uint8_t)~SEGMENT_PSH;

    return one->from == other->from && one->connection == other->connection &&
           one->fate == other->fate && one->again == other->again && one->closed == other->closed &&
           (one->bytes > 0) == (other->bytes > 0) &&
           (other->flags & (uint8_t)~SEGMENT_PSH) == flags &&
           (flags == SEGMENT_ACK || flags == SEGMENT_RST);
}

/* Adds to an arrow one that is like it. */
static void join(struct arrow *arrow, const struct arrow *next)
{
    arrow->segments++;
    arrow->last_ns = next->sent_ns;
    arrow->bytes += next->bytes;
    arrow->to_byte = next->to_byte;
    arrow->label[0] = '\0';
    if (arrow->bytes > 0)
        append(arrow->label, "%u segments, %u bytes", arrow->segments, arrow->bytes);
    else
        append(arrow->label, "%u %ss", arrow->segments, arrow->flags & SEGMENT_RST ? "RST" : "ACK");
    if (arrow->closed)
        append(arrow->label, ", window 0");
    if (arrow->again)
        append(arrow->label, " (again)");
}

/* The last arrow of the same kind that is still near enough, or NULL. */
static struct arrow *near(struct drawing *drawing, const struct arrow *next, int64_t together_ns)
{
    for (size_t i = drawing->count; i-- > 0;) {
        struct arrow *arrow = &drawing->arrows[i];
        if (arrow->from != next->from || arrow->connection != next->connection)
            continue;
        if (alike(arrow, next) && next->sent_ns - arrow->last_ns <= together_ns)
            return arrow;
        if ((arrow->bytes > 0) == (next->bytes > 0) || !alike(next, next))
            return NULL;
    }
    return NULL;
}

/* The arrow of a segment; there must be room for one more connection. */
static struct arrow arrow_of(struct drawing *drawing, const struct frame *frame)
{
    struct arrow arrow = {.sent_ns = frame->sent_ns,
                          .delivered_ns = frame->delivered_ns,
                          .last_ns = frame->sent_ns,
                          .from = frame->from,
                          .fate = frame->fate,
                          .connection = find_connection(drawing, frame),
                          .segments = 1};

    describe(&arrow, &drawing->connections[arrow.connection], frame);
    return arrow;
}

static struct drawing draw(const struct ladder *ladder, const struct capture *capture)
{
    struct drawing drawing = {.arrows = calloc(capture->count + 1, sizeof *drawing.arrows),
                              .connections =
                                  calloc(capture->count + 1, sizeof *drawing.connections)};

    if (drawing.arrows == NULL || drawing.connections == NULL)
        die("allocate a ladder");
    for (size_t i = 0; i < capture->count; i++) {
        const struct frame *frame = &capture->frames[i];
        if (!frame->tcp || (ladder->keep != NULL && !ladder->keep(frame, ladder->context)))
            continue;
        struct arrow arrow = arrow_of(&drawing, frame);
        struct arrow *before =
            ladder->together_ns > 0 ? near(&drawing, &arrow, ladder->together_ns) : NULL;
        if (before != NULL)
            join(before, &arrow);
        else if (ladder->at_most > 0 && drawing.count == ladder->at_most)
            drawing.left_out++;
        else
            drawing.arrows[drawing.count++] = arrow;
    }
    qsort(drawing.arrows, drawing.count, sizeof *drawing.arrows, compare_arrows);
    return drawing;
}

static void free_drawing(struct drawing *drawing)
{
    free(drawing->arrows);
    free(drawing->connections);
}

static const char *lost_because(enum frame_fate fate)
{
    switch (fate) {
    case FRAME_LOST:
        return "lost";
    case FRAME_QUEUE_FULL:
        return "queue full";
    case FRAME_CUT:
        return "cable cut";
    case FRAME_DROPPED:
        return "dropped";
    case FRAME_TOO_LONG:
        return "too long";
    case FRAME_HELD:
        return "held back";
    case FRAME_UNDER_WAY:
        return "under way";
    case FRAME_DELIVERED:
        break;
    }
    return NULL;
}

/* The label, with the letter of its connection where there are several. */
static void full_label(const struct drawing *drawing, const struct arrow *arrow, char text[128])
{
    if (drawing->connection_count > 1 && arrow->connection < 26)
        snprintf(text, 128, "%c: %s", (char)('a' + arrow->connection), arrow->label);
    else
        snprintf(text, 128, "%s", arrow->label);
}

/* Milliseconds with microseconds, or seconds where the ladder is long. */
struct time_text {
    char text[24];
};
static struct time_text time_text(const struct drawing *drawing, int64_t ns)
{
    struct time_text result = {""};
    int64_t start = drawing->arrows[0].sent_ns;
    int64_t length = drawing->arrows[drawing->count - 1].sent_ns - start;

    if (ns == 0)
        return result;
    if (length < 1000000000)
        snprintf(result.text, sizeof result.text, "%.3f ms", (double)(ns - start) / 1e6);
    else
        snprintf(result.text, sizeof result.text, "%.3f s", (double)(ns - start) / 1e9);
    return result;
}

static const char *client_name(const struct ladder *ladder)
{
    return ladder->client != NULL ? ladder->client : "client " CLIENT_ADDRESS;
}

static const char *server_name(const struct ladder *ladder)
{
    return ladder->server != NULL ? ladder->server : "server " SERVER_ADDRESS;
}

/* ---- text ---- */

enum { ARROW_WIDTH = 52, TIME_WIDTH = 13 };

static void repeat(FILE *file, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        fputs(text, file);
}

static void text_arrow(FILE *file, const struct drawing *drawing, const struct arrow *arrow)
{
    char label[128];
    const char *reason = lost_because(arrow->fate);
    size_t line = 2;

    full_label(drawing, arrow, label);
    size_t used = strlen(label) + 2 + 2 + 1; /* blanks around, two of the line, the head */
    if (reason != NULL)
        used += strlen(reason) + 1;
    size_t rest = used < ARROW_WIDTH ? ARROW_WIDTH - used : 1;
    if (reason != NULL)
        rest = rest / 2;

    if (arrow->from == HOST_CLIENT) {
        fprintf(file, "%*s  ", TIME_WIDTH, time_text(drawing, arrow->sent_ns).text);
        repeat(file, "─", line);
        fprintf(file, " %s ", label);
        repeat(file, "─", rest);
        if (reason != NULL)
            fprintf(file, "✕ %s", reason);
        else
            fprintf(file, "▶%*s", TIME_WIDTH, time_text(drawing, arrow->delivered_ns).text);
    } else {
        size_t gap = reason == NULL                                 ? 0
                     : ARROW_WIDTH - used > 0 && used < ARROW_WIDTH ? ARROW_WIDTH - used - rest
                                                                    : 0;
        fprintf(file, "%*s  %*s", TIME_WIDTH,
                reason == NULL ? time_text(drawing, arrow->delivered_ns).text : "", (int)gap, "");
        if (reason != NULL)
            fprintf(file, "%s ✕", reason);
        else
            fputs("◀", file);
        repeat(file, "─", rest);
        fprintf(file, " %s ", label);
        repeat(file, "─", line);
        fprintf(file, "%*s", TIME_WIDTH, time_text(drawing, arrow->sent_ns).text);
    }
    putc('\n', file);
}

static void text_hosts(FILE *file, const struct ladder *ladder)
{
    int right = ARROW_WIDTH + TIME_WIDTH - (int)strlen(client_name(ladder));

    fprintf(file, "%*s%s%*s\n", TIME_WIDTH + 2 - 8, "", client_name(ladder), right,
            server_name(ladder));
}

void ladder_text(FILE *file, const struct ladder *ladder, const struct capture *capture)
{
    struct drawing drawing = draw(ladder, capture);

    text_hosts(file, ladder);
    for (size_t i = 0; i < drawing.count; i++)
        text_arrow(file, &drawing, &drawing.arrows[i]);
    if (drawing.left_out > 0)
        fprintf(file, "%*s  … and %zu segments more\n", TIME_WIDTH, "", drawing.left_out);
    free_drawing(&drawing);
}

/* ---- live ---- */

struct live_ladder {
    FILE *file;
    const struct ladder *ladder;
    struct arrow arrows[2]; /* the first of all, and the latest */
    struct drawing drawing;
};

struct live_ladder *ladder_begin(FILE *file, const struct ladder *ladder)
{
    struct live_ladder *live = calloc(1, sizeof *live);

    if (live == NULL)
        die("allocate a ladder");
    live->file = file;
    live->ladder = ladder;
    live->drawing.arrows = live->arrows;
    text_hosts(file, ladder);
    return live;
}

void ladder_add(struct live_ladder *live, const struct frame *frame)
{
    const struct ladder *ladder = live->ladder;
    struct drawing *drawing = &live->drawing;

    if (!frame->tcp || (ladder->keep != NULL && !ladder->keep(frame, ladder->context)))
        return;
    struct connection *connections =
        realloc(drawing->connections, (drawing->connection_count + 1) * sizeof *connections);
    if (connections == NULL)
        die("allocate a ladder");
    drawing->connections = connections;
    struct arrow *arrow = &live->arrows[drawing->count == 0 ? 0 : 1];
    *arrow = arrow_of(drawing, frame);
    drawing->count = arrow == live->arrows ? 1 : 2;
    text_arrow(live->file, drawing, arrow);
}

void ladder_end(struct live_ladder *live)
{
    free(live->drawing.connections);
    free(live);
}

/* ---- picture ---- */

enum { LEFT = 110, RIGHT = 650, WIDTH = 760, TOP = 84, SMALLEST_STEP = 17, LARGEST_STEP = 64 };
static const double LETTER_WIDTH = 7.9; /* of the font for labels, of 13 px */
enum { HEIGHT = 400, FEW = 16 /* moments, which may be as far apart as they are */ };

/* A moment at one of the two hosts. */
struct moment {
    int64_t ns;
    double y;
};

static int compare_moments(const void *left, const void *right)
{
    int64_t a = ((const struct moment *)left)->ns, b = ((const struct moment *)right)->ns;

    return (a > b) - (a < b);
}

/* Heights of all moments. Time runs downwards, but not evenly: between two moments there is
   always enough room for a line of text, and never an empty page. */
static struct moment *lay_out(const struct drawing *drawing, size_t *count)
{
    struct moment *moments = calloc(2 * drawing->count + 1, sizeof *moments);

    if (moments == NULL)
        die("allocate a ladder");
    *count = 0;
    for (size_t i = 0; i < drawing->count; i++) {
        moments[(*count)++].ns = drawing->arrows[i].sent_ns;
        if (drawing->arrows[i].delivered_ns != 0)
            moments[(*count)++].ns = drawing->arrows[i].delivered_ns;
    }
    qsort(moments, *count, sizeof *moments, compare_moments);

    int64_t length = *count > 0 ? moments[*count - 1].ns - moments[0].ns : 0;
    double y = TOP, largest = *count <= FEW ? HEIGHT : LARGEST_STEP;
    for (size_t i = 0; i < *count; i++) {
        int64_t gap = i > 0 ? moments[i].ns - moments[i - 1].ns : 0;
        double step = length > 0 ? (double)gap / (double)length * HEIGHT : 0;
        if (i > 0)
            y += gap == 0               ? 0
                 : step < SMALLEST_STEP ? SMALLEST_STEP
                 : step > largest       ? largest
                                        : step;
        moments[i].y = y;
    }
    return moments;
}

static double height_of(const struct moment *moments, size_t count, int64_t ns)
{
    for (size_t i = 0; i < count; i++)
        if (moments[i].ns == ns)
            return moments[i].y;
    return TOP;
}

static void escaped(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            fputs("&lt;", file);
        else if (*text == '>')
            fputs("&gt;", file);
        else if (*text == '&')
            fputs("&amp;", file);
        else
            putc(*text, file);
    }
}

static void svg_text(FILE *file, double x, double y, const char *class, const char *anchor,
                     const char *text)
{
    fprintf(file, "<text class=\"%s\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, anchor, x,
            y);
    escaped(file, text);
    fputs("</text>\n", file);
}

static void svg_head(FILE *file, double x, double y, double direction, const char *class)
{
    fprintf(file, "<path class=\"%s\" d=\"M%.1f %.1f l%.1f -4 v8 z\"/>\n", class, x, y,
            -9 * direction);
}

/* Where an arrow begins and ends. */
struct line {
    double x, y, end_x, end_y;
};

static struct line line_of(const struct arrow *arrow, const struct moment *moments, size_t count)
{
    bool client = arrow->from == HOST_CLIENT;
    double start = client ? LEFT : RIGHT, end = client ? RIGHT : LEFT;
    double y = height_of(moments, count, arrow->sent_ns);

    if (lost_because(arrow->fate) != NULL)
        return (struct line){start, y, start + (end - start) * 0.62, y + 10};
    return (struct line){start, y, end, height_of(moments, count, arrow->delivered_ns)};
}

static void svg_arrow(FILE *file, const struct arrow *arrow, struct line line)
{
    bool client = arrow->from == HOST_CLIENT, lost = lost_because(arrow->fate) != NULL;
    double direction = client ? 1 : -1;

    fprintf(file, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            lost     ? "lost"
            : client ? "there"
                     : "back",
            line.x, line.y, line.end_x - (lost ? 0 : 8 * direction), line.end_y);
    if (lost)
        fprintf(file, "<path class=\"lost\" d=\"M%.1f %.1f l10 10 m0 -10 l-10 10\"/>\n",
                line.end_x - 5, line.end_y - 5);
    else
        svg_head(file, line.end_x, line.end_y, direction, client ? "there-head" : "back-head");
}

/* What the header says, a line for each field. */
static void svg_title(FILE *file, const struct arrow *arrow)
{
    const struct segment *segment = &arrow->frame->segment;
    char flags[32], options[256];

    segment_flags_text(segment->flags, flags, sizeof flags);
    segment_options_text(arrow->frame->bytes, segment, options, sizeof options);
    fputs("<title>", file);
    if (arrow->segments > 1)
        fprintf(file, "the first of %u segments:\n", arrow->segments);
    fprintf(file, "%s, port %u to %u\nsequence number %u (%u)\n", flags, segment->source_port,
            segment->destination_port, arrow->sequence, segment->sequence);
    if (arrow->acknowledgement_known)
        fprintf(file, "acknowledgement number %u (%u)\n", arrow->acknowledgement,
                segment->acknowledgement);
    fprintf(file, "%u bytes of data\nwindow %u", segment->payload, segment->window);
    if (!arrow->window_known)
        fputs(", with a scale that was not seen", file);
    else if (arrow->window != segment->window)
        fprintf(file, " × %llu = %llu bytes", (unsigned long long)(arrow->window / segment->window),
                (unsigned long long)arrow->window);
    fprintf(file, "\noptions: %s</title>\n", *options != '\0' ? options : "none");
}

/* A text on a background of its own: nothing runs through it, in whatever viewer. */
static void svg_label(FILE *file, double x, double y, const char *class, const char *anchor,
                      const char *text)
{
    size_t letters = 0;

    for (const char *byte = text; *byte != '\0'; byte++)
        letters += ((unsigned char)*byte & 0xc0) != 0x80;
    double width = (double)letters * LETTER_WIDTH + 4;
    fprintf(file, "<rect class=\"page\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"15\"/>\n",
            strcmp(anchor, "start") == 0 ? x - 2 : x - width + 2, y - 12, width);
    svg_text(file, x, y, class, anchor, text);
}

/* What is written at an arrow, and what shows when the pointer is on it: after all lines, so that
   none of them runs through it. */
static void svg_words(FILE *file, const struct drawing *drawing, const struct arrow *arrow,
                      struct line line)
{
    char label[128];
    bool client = arrow->from == HOST_CLIENT;
    const char *reason = lost_because(arrow->fate);
    const char *near = client ? "start" : "end", *far = client ? "end" : "start";
    double direction = client ? 1 : -1, part = 0.06;

    fputs("<g>\n", file);
    svg_title(file, arrow);
    if (reason != NULL)
        svg_text(file, line.end_x + 12 * direction, line.end_y + 4, "reason", near, reason);
    else
        svg_text(file, line.end_x + 10 * direction, line.end_y + 4, "time", near,
                 time_text(drawing, arrow->delivered_ns).text);
    svg_text(file, line.x - 10 * direction, line.y + 4, "time", far,
             time_text(drawing, arrow->sent_ns).text);
    full_label(drawing, arrow, label);
    svg_label(file, line.x + (line.end_x - line.x) * part,
              line.y + (line.end_y - line.y) * part - 3, "label", near, label);
    /* A line is too thin to be pointed at. */
    fprintf(file, "<line class=\"hover\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            line.x, line.y, line.end_x, line.end_y);
    fputs("</g>\n", file);
}

/* Without variables, which not every viewer of pictures knows. */
static const char style[] =
    ".page{fill:#fff}text{font:13px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2328}"
    ".title{font:bold 15px 'DejaVu Sans',Verdana,sans-serif}"
    ".time,.reason{font-size:12px}.time{fill:#57606a}.reason{fill:#c5221f}"
    ".hover{stroke:transparent;stroke-width:12}"
    ".host{stroke:#57606a;stroke-width:1.5}"
    ".there{stroke:#0b57d0;stroke-width:1.5}.there-head{fill:#0b57d0}"
    ".back{stroke:#0a7a3f;stroke-width:1.5}.back-head{fill:#0a7a3f}"
    ".lost{stroke:#c5221f;stroke-width:1.5;fill:none}"
    "@media(prefers-color-scheme:dark){.page{fill:#15181c}text{fill:#e6e8ea}"
    ".time{fill:#a3abb4}.reason{fill:#ff8a80}.host{stroke:#a3abb4}"
    ".there{stroke:#8ab4f8}.there-head{fill:#8ab4f8}.back{stroke:#6fd39b}"
    ".back-head{fill:#6fd39b}.lost{stroke:#ff8a80}}";

void ladder_svg(FILE *file, const struct ladder *ladder, const struct capture *capture)
{
    struct drawing drawing = draw(ladder, capture);
    size_t count;
    struct moment *moments = lay_out(&drawing, &count);
    double bottom = (count > 0 ? moments[count - 1].y : TOP) + 24;
    double height = bottom + (drawing.left_out > 0 ? 34 : 14);

    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
            "height=\"%.0f\" role=\"img\">\n<title>",
            WIDTH, height, WIDTH, height);
    escaped(file, ladder->title);
    fprintf(file,
            "</title>\n<style>%s</style>\n<rect class=\"page\" width=\"100%%\" "
            "height=\"100%%\"/>\n",
            style);
    svg_text(file, WIDTH / 2.0, 20, "title", "middle", ladder->title);
    if (ladder->note != NULL)
        svg_text(file, WIDTH / 2.0, 38, "time", "middle", ladder->note);
    svg_text(file, LEFT, 54, "label", "middle", client_name(ladder));
    svg_text(file, RIGHT, 54, "label", "middle", server_name(ladder));
    for (int x = LEFT; x <= RIGHT; x += RIGHT - LEFT)
        fprintf(file, "<line class=\"host\" x1=\"%d\" y1=\"62\" x2=\"%d\" y2=\"%.1f\"/>\n", x, x,
                bottom);
    for (size_t i = 0; i < drawing.count; i++)
        svg_arrow(file, &drawing.arrows[i], line_of(&drawing.arrows[i], moments, count));
    for (size_t i = 0; i < drawing.count; i++)
        svg_words(file, &drawing, &drawing.arrows[i], line_of(&drawing.arrows[i], moments, count));
    if (drawing.left_out > 0) {
        char rest[64];
        snprintf(rest, sizeof rest, "… and %zu segments more", drawing.left_out);
        svg_text(file, WIDTH / 2.0, bottom + 18, "time", "middle", rest);
    }
    fputs("</svg>\n", file);
    free(moments);
    free_drawing(&drawing);
}
