/* Messages in a stream: records that come in pieces and in one lump; the byte order; and why
   packed bytes are no text. */
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/pack.h"
#include "common/stream.h"
#include "tests/labs/lab.h"
#include "tests/labs/program.h"

#define RECORD_FORMAT "! I 2s Q 2h f"
enum { RECORD_SIZE = 22, RECORD_VALUES = 6 };

/* A record, or the answer to it, whose text is in upper case. */
static void make_record(char *record, unsigned number, bool answer)
{
    struct pack_error error;
    struct pack_value values[RECORD_VALUES] = {
        {.code = 'I', .as.u = 0x61626364 + number},
        {.code = 's', .as.text = {answer ? "AB" : "ab", 2}},
        {.code = 'Q', .as.u = number},
        {.code = 'h', .as.i = -3},
        {.code = 'h', .as.i = 4},
        {.code = 'f', .as.f = 1.5F},
    };

    if (pack(RECORD_FORMAT, values, RECORD_VALUES, record, RECORD_SIZE, &error) != RECORD_SIZE)
        lab_fail("pack: %s", error.text);
}

/* How a client may send its records. */
enum manner { ONE_WRITE_EACH, IN_TWO_PIECES, BYTE_BY_BYTE, GLUED };
enum { MOST_RECORDS = 500 };

/* Sends so many records, and counts those that are answered as they should be. With wait, the
   next piece goes out once the one before has come back, as an echo server sends it: then it
   has been received by itself. */
static int send_records(enum manner manner, int count, bool wait)
{
    static char all[MOST_RECORDS * RECORD_SIZE], reply[MOST_RECORDS * RECORD_SIZE];
    static const int piece_sizes[] = {RECORD_SIZE, 10, 1, MOST_RECORDS * RECORD_SIZE};
    int size = count * RECORD_SIZE, sent = 0, received = 0, right = 0;
    int on = 1, server = lab_connect();

    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (int i = 0; i < count; i++)
        make_record(all + (ptrdiff_t)i * RECORD_SIZE, (unsigned)i, false);
    while (sent < size) {
        int left_of_record = RECORD_SIZE - sent % RECORD_SIZE, piece = piece_sizes[manner];
        if (manner != GLUED && piece > left_of_record)
            piece = left_of_record;
        if (manner == IN_TWO_PIECES && sent % RECORD_SIZE > 0)
            piece = left_of_record;
        if (piece > size - sent)
            piece = size - sent;
        if (send_all(server, all + sent, (size_t)piece) < 0)
            lab_fail("send");
        sent += piece;
        if (!wait && sent % RECORD_SIZE > 0)
            continue; /* the server waits for the rest of the record */
        int due = sent - received;
        if (receive_exactly(server, reply + received, (size_t)due) == due)
            received += due;
    }
    shutdown(server, SHUT_WR);
    for (int i = 0; i < received / RECORD_SIZE; i++) {
        char answer[RECORD_SIZE];
        make_record(answer, (unsigned)i, true);
        right += memcmp(answer, reply + (ptrdiff_t)i * RECORD_SIZE, RECORD_SIZE) == 0;
    }
    close(server);
    return right;
}

/* How many receives the server has logged, and how many of them were just one record. */
static void count_receives(const struct program *server, int *all, int *whole)
{
    static double sizes[20000];

    *all = program_numbers(server, "received ", sizes, 20000);
    *whole = 0;
    for (int i = 0; i < *all; i++)
        *whole += (int)sizes[i] == RECORD_SIZE;
}

static void show_framing(void)
{
    static const struct {
        const char *what;
        enum manner manner;
        int count;
    } cases[] = {{"one write for each", ONE_WRITE_EACH, 40},
                 {"10 bytes, then 12", IN_TWO_PIECES, 40},
                 {"byte by byte", BYTE_BY_BYTE, 40},
                 {"500 in one write", GLUED, 500}};
    enum { CASES = sizeof cases / sizeof cases[0] };
    int answered = 0, records = 0, whole_in_all = 0;
    bool as_expected = true;

    lab_table("records\tsent\treceives of 06\tof exactly 22 bytes\tanswered right by 07");
    for (int i = 0; i < CASES; i++) {
        int receives, whole;
        lab_new_port();
        struct program *before = server_start("06-keepalive-nodelay", "-v");
        send_records(cases[i].manner, cases[i].count, cases[i].manner != GLUED);
        program_says(before, " closed", 1);
        count_receives(before, &receives, &whole);
        program_stop(before);

        lab_new_port();
        struct program *server = server_start("07-binary-struct", "--handler record");
        lab_forget();
        int right = send_records(cases[i].manner, cases[i].count, false);
        if (cases[i].manner == IN_TWO_PIECES)
            lab_ladder(NULL, &(struct ladder){.title = "A record in two pieces has one answer",
                                              .at_most = 14});
        program_stop(server);
        lab_row("%d\t%s\t%d\t%d\t%d", cases[i].count, cases[i].what, receives, whole, right);
        records += cases[i].count;
        answered += right;
        whole_in_all += whole;
        as_expected = as_expected && right == cases[i].count;
        program_show(false);
    }
    lab_table_end();
    lab_answer(whole_in_all);
    lab_verdict(as_expected && whole_in_all < records / 10,
                "stage 07 had all %d records, however they came; a recv is one record only when "
                "each comes alone",
                records);
    if (as_expected) {
        char text[2][64];
        snprintf(text[0], sizeof text[0], "%d of %d records whole", whole_in_all, records);
        snprintf(text[1], sizeof text[1], "%d of %d", answered, records);
        lab_compare("--handler record", text[0], text[1],
                    whole_in_all > 0 ? (double)answered / whole_in_all : 0);
    }
    lab_look("client$ build/07-binary-struct/client --host 10.0.0.2 --record 1 ab 2 -3 4 5");
}

static void show_cut_short(void)
{
    char records[2 * RECORD_SIZE], reply[2 * RECORD_SIZE];
    double bytes = 0;

    struct program *server = server_start("07-binary-struct", "--handler record");
    int client = lab_connect();
    make_record(records, 0, false);
    make_record(records + RECORD_SIZE, 1, false);
    send_all(client, records, RECORD_SIZE + 10);
    shutdown(client, SHUT_WR);
    ssize_t received = receive_exactly(client, reply, sizeof reply);
    program_says(server, " closed", 1);
    program_numbers(server, "record cut short: ", &bytes, 1);
    lab_table("sent\treceived\tthe server's log");
    lab_row("%d bytes\t%zd bytes\trecord cut short: %.0f of %d bytes", RECORD_SIZE + 10, received,
            bytes, RECORD_SIZE);
    lab_table_end();
    lab_answer((double)received);
    lab_verdict(received == RECORD_SIZE && bytes == 10,
                "the whole record is answered, and the rest is no record: it is dropped, and the "
                "log says so");
    lab_look("client$ printf 'ten bytes.' | nc -N 10.0.0.2 9999");
    close(client);
    program_stop(server);
}

static void show_byte_order(void)
{
    char record[RECORD_SIZE], text[2][256];
    struct pack_value values[RECORD_VALUES];
    struct pack_error error;
    static const char *const formats[] = {"! I 2s Q 2h f", "< I 2s Q 2h f"};
    bool read_wrong;

    lab_say("I: a number of 4 bytes, 2s: a text of 2, Q: a number of 8, 2h: two of 2, f: a float;");
    lab_say("!: the most significant byte first, <: the least significant byte first");
    make_record(record, 0, false);
    lab_table("the bytes read as\tthe values");
    for (int i = 0; i < 2; i++) {
        if (unpack(formats[i], record, sizeof record, values, RECORD_VALUES, &error) < 0)
            lab_fail("unpack: %s", error.text);
        pack_words(values, RECORD_VALUES, text[i], sizeof text[i]);
        lab_row("%s\t%s", formats[i], text[i]);
    }
    lab_table_end();
    read_wrong = strcmp(text[0], text[1]) != 0;
    lab_verdict(read_wrong && pack_size("! I 2s Q 2h f", &error) == RECORD_SIZE,
                "the same %d bytes are other numbers in the other order; as the compiler lays "
                "them out ('@') they would be %zd bytes",
                RECORD_SIZE, pack_size("@ I 2s Q 2h f", &error));
    lab_look("python3 -c \"import struct; print(struct.calcsize('!I2sQ2hf'))\"   (and '@')");
}

static void show_upper(void)
{
    static const char words[] = "1633837924 ab 7 -3 4 1.5";
    char *answers[2];

    for (int i = 0; i < 2; i++) {
        lab_new_port();
        struct program *server =
            server_start("07-binary-struct", "--handler %s", i == 0 ? "upper" : "record");
        struct program *client = client_run("07-binary-struct", "--record %s", words);
        answers[i] = program_output(client);
        answers[i][strcspn(answers[i], "\n")] = '\0';
        program_stop(server);
    }
    lab_table("--handler\tthe record that comes back");
    lab_row("(sent)\t%s", words);
    lab_row("upper\t%s", answers[0]);
    lab_row("record\t%s", answers[1]);
    lab_table_end();
    lab_answer(strncmp(answers[0], words, strcspn(words, " ")) == 0 ? 0 : 1);
    lab_verdict(strncmp(answers[0], "1094861636 AB", 13) == 0 &&
                    strcmp(answers[1], "1633837924 AB 7 -3 4 1.5") == 0,
                "1633837924 is the bytes 'abcd': whoever puts packed bytes in upper case damages "
                "the numbers");
    lab_look("printf '%x %x\\n' 1633837924 1094861636");
    free(answers[0]);
    free(answers[1]);
}

static const struct part parts[] = {
    {.name = "framing",
     .question = "Records of 22 bytes: does a recv bring one?",
     .run = show_framing,
     .guess = "620 records come: 40 in one write each, 40 in two, 40 byte by byte, 500 in one "
              "write. How often does a recv bring just one record?",
     .unit = "records",
     .near = 0.3,
     .quick = true},
    {.name = "cut-short",
     .question = "And if the stream ends in the middle of one?",
     .run = show_cut_short,
     .guess =
         "A client sends a record and 10 bytes of the next, and ends. How many bytes come back?",
     .unit = "bytes"},
    {.name = "byte-order",
     .question = "What do the same bytes mean in the other byte order?",
     .run = show_byte_order},
    {.name = "upper",
     .question = "Why not just put the bytes in upper case?",
     .run = show_upper,
     .guess = "The record 1633837924 ab 7 -3 4 1.5 is put in upper case, byte for byte. What "
              "becomes of the first number?",
     .choices = (const char *const[]){"it stays as it is", "it becomes another number",
                                      "it can no longer be read", NULL},
     .quick = true},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "07", "messages in a stream", parts);
}
