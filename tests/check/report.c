#include "tests/check/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 80 };

/* Columns of a text in UTF-8. */
static int columns(const char *text, size_t size)
{
    int count = 0;

    for (size_t i = 0; i < size; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

void print_wrapped(const char *text, int column, int indent)
{
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        int wide = columns(text, word);
        if (column > indent && column + 1 + wide > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)word, text);
        column += wide;
        text += word;
        text += *text == ' ';
    }
    putchar('\n');
}

static const char *mark(const struct report *report, enum outcome outcome)
{
    switch (outcome) {
    case PASSED:
        return report->colours ? "\033[32m✓\033[0m" : "✓";
    case FAILED:
        return report->colours ? "\033[31m✗\033[0m" : "✗";
    case SKIPPED:
        return "-";
    default:
        return "·";
    }
}

void report_begin(struct report *report)
{
    memset(report->results, 0, sizeof report->results);
    report->failed_stage = report->failed_step = -1;
    report->number = 0;
    report->line_stage = -1;
    const struct stage *stage = &stages[report->last_stage];
    if (report->form == FOR_READERS) {
        int used = printf("%02d  %s", report->last_stage + 1, stage->title);
        int gap = WIDTH - used - (int)strlen(report->server);
        printf("%*s%s\n", gap > 2 ? gap : 2, "", report->server);
    } else if (report->form == FOR_TAP) {
        int total = 0;
        for (int i = report->first_stage; i <= report->last_stage; i++)
            total += steps_of(i);
        printf("TAP version 13\n1..%d\n", total);
    }
    fflush(stdout);
}

static void field(const char *name, const char *text)
{
    enum { INDENT = 17 };

    if (text[0] == '\0')
        return;
    printf("       %-10s", name);
    print_wrapped(text, INDENT, INDENT);
}

static void end_line(struct report *report)
{
    if (report->line_stage >= 0)
        putchar('\n');
    report->line_stage = -1;
}

static void step_for_readers(struct report *report, int stage, int step,
                             const struct result *result)
{
    const struct step *row = &stages[stage].steps[step];
    bool last = stage == report->last_stage;

    if (!last || result->outcome == FAILED) {
        if (!last && report->line_stage != stage) {
            printf("%s%02d ", "  ", stage + 1);
            report->line_stage = stage;
        }
        if (!last)
            fputs(mark(report, result->outcome), stdout);
        if (result->outcome != FAILED)
            return;
    }
    end_line(report);
    if (last)
        printf("  %s %d  ", mark(report, result->outcome), step + 1);
    else
        printf("  %s %02d.%d  ", mark(report, result->outcome), stage + 1, step + 1);
    print_wrapped(row->name, last ? 7 : 10, last ? 7 : 10);
    if (result->outcome == SKIPPED)
        field("skipped", result->saw);
    if (result->outcome != FAILED)
        return;
    field("did", result->did);
    field("expected", result->expected);
    field("saw", result->saw);
    field("so", result->so);
    field("read", row->read);
    if (report->hints)
        printf("       %-10smake hint-%02d\n", "hint", report->last_stage + 1);
}

static void step_for_tap(struct report *report, int stage, int step, const struct result *result)
{
    const char *name = stages[stage].steps[step].name;

    printf("%sok %d - %02d.%d %s", result->outcome == FAILED ? "not " : "", ++report->number,
           stage + 1, step + 1, name);
    if (result->outcome == SKIPPED)
        printf(" # SKIP %s", result->saw);
    putchar('\n');
    if (result->outcome == FAILED) {
        const char *texts[] = {"did", result->did, "expected", result->expected,
                               "saw", result->saw, "so",       result->so};
        puts("  ---");
        for (int i = 0; i < 8; i += 2)
            if (texts[i + 1][0] != '\0')
                printf("  %s: |\n    %s\n", texts[i], texts[i + 1]);
        puts("  ...");
    }
}

void report_step(int stage, int step, const struct result *result, void *context)
{
    struct report *report = context;

    report->results[stage][step] = *result;
    if (result->outcome == FAILED && report->failed_stage < 0) {
        report->failed_stage = stage;
        report->failed_step = step;
    }
    if (report->form == FOR_READERS)
        step_for_readers(report, stage, step, result);
    else if (report->form == FOR_TAP)
        step_for_tap(report, stage, step, result);
    if (report->form == FOR_READERS && stage < report->last_stage && step + 1 == steps_of(stage)) {
        if (stage + 1 == report->last_stage)
            end_line(report);
        else if (report->line_stage >= 0)
            fputs(" ", stdout);
    }
    fflush(stdout);
}

struct sum {
    int all, passed, failed, skipped;
};

static struct sum sum_of(const struct report *report)
{
    struct sum sum = {0, 0, 0, 0};

    for (int stage = report->first_stage; stage <= report->last_stage; stage++)
        for (int step = 0; step < steps_of(stage); step++) {
            enum outcome outcome = report->results[stage][step].outcome;
            sum.all++;
            sum.passed += outcome == PASSED;
            sum.failed += outcome == FAILED;
            sum.skipped += outcome == SKIPPED;
        }
    return sum;
}

static void end_for_readers(struct report *report)
{
    struct sum sum = sum_of(report);
    int number = report->last_stage + 1;
    const struct stage *stage = &stages[report->last_stage];

    end_line(report);
    printf("%d of %d steps", sum.passed, sum.all);
    if (sum.skipped > 0)
        printf(", %d skipped, which this machine does not allow", sum.skipped);
    putchar('\n');
    for (int i = 0; i < report->last_stage; i++)
        for (int step = 0; step < steps_of(i); step++)
            if (report->results[i][step].outcome == SKIPPED) {
                printf("  - %02d.%d  %s\n", i + 1, step + 1, stages[i].steps[step].name);
                field("skipped", report->results[i][step].saw);
            }
    if (sum.failed > 0 || !report->hints)
        return;
    printf("\nStage %02d is done. What the course's server does besides:\n  ", number);
    print_wrapped(stage->besides, 2, 2);
    printf("\n  make compare-%02d   yours beside the course's\n  ", number);
    printf("                  ");
    print_wrapped(stage->next, 20, 20);
}

void report_end(struct report *report)
{
    struct sum sum = sum_of(report);

    if (report->form == FOR_READERS)
        end_for_readers(report);
    if (report->form == FOR_TAP && report->failed_stage >= 0)
        for (int stage = report->first_stage; stage <= report->last_stage; stage++)
            for (int step = 0; step < steps_of(stage); step++)
                if (report->results[stage][step].outcome == NOT_RUN)
                    printf("not ok %d - %02d.%d %s # not reached\n", ++report->number, stage + 1,
                           step + 1, stages[stage].steps[step].name);
    if (report->form != ONE_LINE)
        return;
    printf("%-24s ", report->server);
    for (int stage = report->first_stage; stage <= report->last_stage; stage++) {
        for (int step = 0; step < steps_of(stage); step++)
            fputs(mark(report, report->results[stage][step].outcome), stdout);
        putchar(' ');
    }
    printf(" %2d/%d", sum.passed, sum.all);
    if (report->failed_stage >= 0)
        printf("  %02d.%d %s", report->failed_stage + 1, report->failed_step + 1,
               stages[report->failed_stage].steps[report->failed_step].name);
    putchar('\n');
}

void report_unbuilt(struct report *report, const char *what)
{
    if (report->form == FOR_READERS)
        printf("\n%s does not compile.\nFix the first error above first.\n", what);
    else if (report->form == FOR_TAP)
        puts("Bail out! it does not compile");
    else
        printf("%-24s does not compile\n", report->server);
}

static void xml(FILE *file, const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '<')
            fputs("&lt;", file);
        else if (*text == '&')
            fputs("&amp;", file);
        else if (*text == '"')
            fputs("&quot;", file);
        else if ((unsigned char)*text >= ' ')
            fputc(*text, file);
        else
            fputc('?', file);
}

int report_junit(const struct report *report, const char *path, const char *unbuilt)
{
    struct sum sum = sum_of(report);
    FILE *file = fopen(path, "w");

    if (file == NULL)
        return -1;
    fprintf(file,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"check-%02d\" "
            "tests=\"%d\" failures=\"%d\" skipped=\"%d\">\n",
            report->last_stage + 1, sum.all, unbuilt != NULL ? sum.all : sum.failed,
            unbuilt != NULL ? 0 : sum.all - sum.passed - sum.failed);
    for (int stage = report->first_stage; stage <= report->last_stage; stage++)
        for (int step = 0; step < steps_of(stage); step++) {
            const struct result *result = &report->results[stage][step];
            fprintf(file, "  <testcase classname=\"stage %02d\" name=\"%02d.%d ", stage + 1,
                    stage + 1, step + 1);
            xml(file, stages[stage].steps[step].name);
            fprintf(file, "\" time=\"%.3f\">", result->seconds);
            if (unbuilt != NULL || result->outcome == FAILED) {
                fputs("<failure message=\"", file);
                xml(file, unbuilt != NULL ? unbuilt : result->saw);
                fputs("\">", file);
                if (unbuilt == NULL) {
                    fputs("did: ", file);
                    xml(file, result->did);
                    fputs("\nexpected: ", file);
                    xml(file, result->expected);
                    fputs("\nso: ", file);
                    xml(file, result->so);
                    fputs("\nread: ", file);
                    xml(file, stages[stage].steps[step].read);
                }
                fputs("</failure>", file);
            } else if (result->outcome != PASSED) {
                fputs("<skipped message=\"", file);
                xml(file, result->outcome == SKIPPED ? result->saw : "not reached");
                fputs("\"/>", file);
            }
            fputs("</testcase>\n", file);
        }
    fputs("</testsuite>\n", file);
    bool written = fflush(file) == 0 && !ferror(file);
    return fclose(file) == 0 && written ? 0 : -1;
}
