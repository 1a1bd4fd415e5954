/* Stage 07: messages in a stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"

static void upper(void)
{
    struct server *server = start("--handler upper");
    int client = connect_to(server);

    exchange_for(server, client, "Hello, b\xc3\xa9!", 11, "HELLO, B\xc3\xa9!", 11);
    close(client);
}

static void expect_silence(int client, const char *why)
{
    char came[64];
    struct reply reply = receive_bytes(client, came, sizeof came, 0.15);

    if (reply.size > 0) {
        so("%s", why);
        fail("%s came already", quoted(came, reply.size));
    }
    if (reply.ending != OPEN)
        fail("the connection was closed");
}

static void lines(void)
{
    struct server *server = start("--handler line");
    int client = connect_to(server);

    did("sent 'one li', waited, then 'ne\\ntwo\\nthr', then 'ee\\n' (--handler line)");
    send_bytes(client, "one li", 6, SOON);
    expect_silence(client, "a line is answered when it has ended: what recv brought may be a part "
                           "of it, and has to be kept until the '\\n' comes");
    exchange_for(server, client, "ne\ntwo\nthr", 10, "ONE LINE\nTWO\n", 13);
    expect_silence(client, "what stands behind the last '\\n' is the beginning of the next line: "
                           "keep it, and put what the next recv brings behind it");
    exchange_for(server, client, "ee\n", 3, "THREE\n", 6);
    send_bytes(client, "rest", 4, SOON);
    shutdown(client, SHUT_WR);
    did("sent 'rest' without a '\\n', and ended the stream");
    expected("'REST': the end of the stream ends the last line too");
    expect(server, client, "rest", 4, "REST", 4);
    close(client);
}

static void a_line_too_long(void)
{
    enum { LONG = 20000 };
    static char letters[LONG];
    struct server *server = start("--handler line");
    int client = connect_to(server);

    memset(letters, 'a', sizeof letters);
    send_bytes(client, letters, 8000, SOON);
    expect_silence(client, "8000 bytes without a '\\n' are no line yet");
    send_bytes(client, letters, sizeof letters, SOON);
    if (wait_for_end(client, SOON) == OPEN) {
        so("a line that does not end would fill all memory: at 8192 bytes the connection is "
           "closed");
        fail("28000 bytes without a '\\n', and the connection is still open");
    }
    close(client);
    client = connect_to(server);
    exchange_for(server, client, "next\n", 5, "NEXT\n", 5);
    close(client);
}

/* 22 bytes in network order: a number, two letters, a long number, two short ones, a float. All
   but the letters have bytes that are letters too. */
/* Bytes and no text: there is no zero at the end. */
enum { RECORD = 22 };
static const char record[RECORD] = "abcdokABcdEFgh\x61\x62\xff\x63xyz\x01";
static const char answer[RECORD] = "abcdOKABcdEFgh\x61\x62\xff\x63xyz\x01";

static void one_record(void)
{
    struct server *server = start("--handler record");
    int client = connect_to(server);
    char came[22];

    send_bytes(client, record, sizeof record, SOON);
    struct reply reply = receive_bytes(client, came, sizeof came, SOON);
    if (reply.size == sizeof came && memcmp(came, answer, sizeof came) != 0) {
        if (memcmp(came, "ABCD", 4) == 0)
            so("the numbers have changed too: a number's bytes may look like letters. Only the "
               "text, bytes 5 and 6, is put in upper case");
        else if (memcmp(came, record, sizeof came) == 0)
            so("the text, bytes 5 and 6, is not in upper case");
        else
            so("the fields follow each other without a gap: 4 bytes, then 2 of text, 8, 2, 2, 4. "
               "A C struct has gaps between them");
        fail("%s", quoted(came, reply.size));
    }
    if (reply.size == sizeof came) {
        close(client);
        return;
    }
    expect(server, client, record, sizeof record, answer, sizeof answer);
}

static void split_and_glued(void)
{
    struct server *server = start("--handler record");
    int client = connect_to(server);
    char three[3 * RECORD];

    for (size_t i = 0; i < sizeof three; i++)
        three[i] = record[i % RECORD];
    did("sent 10 bytes of a record, then the other 12 and 30 more, then the last 14");
    send_bytes(client, three, 10, SOON);
    expect_silence(client,
                   "a record is answered when its 22 bytes are there: recv may bring fewer");
    send_bytes(client, three + 10, 42, SOON);
    for (size_t i = 0; i < 2; i++) {
        char came[22];
        struct reply reply = receive_bytes(client, came, 22, SOON);
        if (reply.size != 22 || memcmp(came, answer, 22) != 0) {
            so("one recv brings a part of a record, or two and a half: count to 22, keep the "
               "rest, and put the next bytes behind it");
            fail("record %zu: %s%s", i + 1, reply.size == 0 ? "nothing" : quoted(came, reply.size),
                 reply.ending == OPEN ? "" : ", then the end of the connection");
        }
    }
    exchange_for(server, client, three + 52, 14, answer, 22);
    close(client);
}

static void cut_short(void)
{
    struct server *server = start("--handler record");
    int client = connect_to(server);
    char came[64];

    send_bytes(client, record, 22, SOON);
    send_bytes(client, record, 7, SOON);
    shutdown(client, SHUT_WR);
    struct reply reply = receive_bytes(client, came, sizeof came, SOON);
    if (reply.size != 22 || memcmp(came, answer, 22) != 0) {
        so("7 bytes of a record are none: the rest never comes, and they are dropped");
        fail("%s came back", reply.size == 0 ? "nothing" : quoted(came, reply.size));
    }
    if (reply.ending == OPEN) {
        so("recv has returned 0: no more comes, and the connection is closed");
        fail("2 s later the connection was still open");
    }
    close(client);
    client = connect_to(server);
    exchange_for(server, client, record, 22, answer, 22);
    close(client);
}

#define READ "docs/07-binary-struct.md#the-lines-that-matter"

const struct step steps_07[] = {
    {"--handler upper answers in upper case",
     "sent 'Hello, b\\xc3\\xa9!' (--handler upper)",
     "'HELLO, B\\xc3\\xa9!': ASCII letters alone",
     READ,
     {"Which bytes are letters, and which only look so to a library that knows languages?",
      "For each byte from 'a' to 'z' its upper case, all others as they are; given.handler has the "
      "name of the handler."},
     NULL,
     upper},
    {"--handler line answers a line when it has ended",
     "lines in pieces (--handler line)",
     "no answer before the '\\n', then the whole line",
     READ,
     {"recv has brought one line and a half. What becomes of the half?",
      "Keep what has come in a buffer. Answer all up to the last '\\n', move the rest to the "
      "front, "
      "and receive behind it. At the end of the stream the rest is a line too."},
     NULL,
     lines},
    {"a line longer than 8192 bytes ends its connection",
     "sent 28000 bytes without a '\\n' (--handler line)",
     "the connection closed, and the next client answered",
     READ,
     {"How much memory does a line need that never ends?",
      "When the buffer of 8192 bytes is full and has no '\\n', the connection is closed."},
     NULL,
     a_line_too_long},
    {"--handler record changes the text and no number",
     "sent 22 bytes, 'abcd' 'ok' 'ABcdEFgh' 'ab' '\\xffc' 'xyz\\x01' (--handler record)",
     "the same record with 'OK' for 'ok'",
     READ,
     {"Which of the 22 bytes are text?",
      "The format is a number of 4 bytes, 2 bytes of text, then 8, 2, 2 and 4 bytes of numbers, "
      "without gaps: the text is bytes 5 and 6."},
     NULL,
     one_record},
    {"records split and glued together arrive whole",
     "three records in odd pieces",
     "three records, each as soon as it is complete",
     READ,
     {"Why should one send of the client be one recv of yours?",
      "Of the bytes held answer as many times 22 as are there, keep the rest. The loop is the one "
      "of the lines."},
     "07.4",
     split_and_glued},
    {"a record cut short is dropped",
     "sent a record and 7 bytes of another, and ended the stream",
     "the answer to the first, the end of the connection, and the next client answered",
     READ,
     {"What is left in the buffer when recv returns 0?",
      "At the end of the stream a rest of fewer than 22 bytes is no record: drop it, close."},
     "07.4",
     cut_short},
    {0},
};
