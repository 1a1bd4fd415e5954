#include "tests/labs/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/labs/lab.h"

enum { MOST_SERIES = 8, MOST_POINTS = 20000, MOST_BARS = 12, BAR_WIDTH = 40 };

struct series {
    char name[64];
    enum plot_style style;
    int first, count; /* of points */
};

static struct plot plot;
static struct series all_series[MOST_SERIES];
static int series_count;
static struct {
    double x, y;
} points[MOST_POINTS];
static int point_count;

void plot_begin(const struct plot *begun)
{
    plot = *begun;
    series_count = point_count = 0;
}

void plot_series(const char *name, enum plot_style style)
{
    if (series_count == MOST_SERIES)
        lab_fail("a plot has at most %d series", MOST_SERIES);
    struct series *series = &all_series[series_count++];
    snprintf(series->name, sizeof series->name, "%s", name);
    series->style = style;
    series->first = point_count;
    series->count = 0;
}

void plot_point(double x, double y)
{
    if (point_count == MOST_POINTS)
        return;
    points[point_count].x = x;
    points[point_count++].y = y;
    all_series[series_count - 1].count++;
}

/* ---- bars ---- */

static void print_bars(void)
{
    double most = 0, least = INFINITY;

    for (int i = 0; i < point_count; i++) {
        most = fmax(most, points[i].y);
        if (points[i].y > 0)
            least = fmin(least, points[i].y);
    }
    printf("\n    %s\n    (%s: %s%s)\n", plot.title, plot.x, plot.y,
           plot.log_y > 0 ? "; logarithmic bars" : "");
    for (int s = 0; s < series_count; s++) {
        const struct series *series = &all_series[s];
        if (series->style != all_series[0].style)
            continue; /* a line to compare with, which the table has too */
        int step = series->count > MOST_BARS ? (series->count + MOST_BARS - 1) / MOST_BARS : 1;
        printf("    %s\n", series->name);
        for (int i = 0; i < series->count; i += step) {
            double x = points[series->first + i].x, y = points[series->first + i].y;
            double part = most > 0 ? y / most : 0;
            if (plot.log_y > 0 && y > 0)
                part = (log(y) - log(least) + 1) / (log(most) - log(least) + 1);
            int eighths = (int)lround(part * BAR_WIDTH * 8);
            static const char *const blocks[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
            printf("    %10.6g  ", x);
            for (int block = 0; block < eighths / 8; block++)
                fputs("█", stdout);
            printf(y < 1000 ? "%s %.4g %s\n" : "%s %.0f %s\n", blocks[eighths % 8], y, plot.unit);
        }
    }
    putchar('\n');
    fflush(stdout);
}

/* ---- gnuplot ---- */

static const char *const colours[] = {"#3b78e7", "#e0662f", "#2f9e5f", "#a05cc9",
                                      "#c08a00", "#d0407a", "#2a9db0", "#808890"};

static void print_style(FILE *gnuplot, int index)
{
    const struct series *series = &all_series[index];
    int points_before = 0;

    for (int s = 0; s < index; s++)
        points_before += all_series[s].style == PLOT_POINTS;
    const char *colour = colours[series->style == PLOT_LINE ? index - points_before : index];
    if (series->style == PLOT_POINTS)
        fprintf(gnuplot, "with points pt 7 ps 0.8 lc rgb '%s'", colour);
    else if (series->style == PLOT_BOXES)
        fprintf(gnuplot, "with boxes fs solid 0.8 lc rgb '%s'", colour);
    else if (points_before == 0 && series->count <= MOST_BARS)
        fprintf(gnuplot, "with linespoints lw 2 pt 7 ps 0.6 lc rgb '%s'", colour);
    else
        fprintf(gnuplot, "with lines lw %d lc rgb '%s'", points_before > 0 ? 1 : 2, colour);
}

/* Colours in the middle, so that they show on a light page and on a dark one. */
static void print_script(FILE *gnuplot, const char *path)
{
    static const char grey[] = "#7d858e";

    fprintf(gnuplot, "set terminal svg size 760,420 dynamic noenhanced font 'sans-serif,13'\n");
    fprintf(gnuplot, "set output '%s'\n", path);
    fprintf(gnuplot, "set title \"%s\" tc rgb '%s'\n", plot.title, grey);
    fprintf(gnuplot, "set xlabel \"%s\" tc rgb '%s'\nset ylabel \"%s\" tc rgb '%s'\n", plot.x, grey,
            plot.y, grey);
    fprintf(gnuplot, "set border 3 lc rgb '%s'\nset tics nomirror tc rgb '%s'\n", grey, grey);
    fprintf(gnuplot,
            "set grid lc rgb '%s' lw 0.3\nset key outside bottom center horizontal tc "
            "rgb '%s'\n",
            grey, grey);
    fprintf(gnuplot, "set key spacing 1.3 height 1\nset boxwidth 0.6\n");
    if (all_series[0].style == PLOT_BOXES)
        fputs("set xtics 1\n", gnuplot);
    if (plot.log_x > 0)
        fprintf(gnuplot, "set logscale x %d\n", plot.log_x);
    if (plot.log_y > 0)
        fprintf(gnuplot, "set logscale y %d\n", plot.log_y);
    else
        fputs("set yrange [0:*]\n", gnuplot);
    for (int s = 0; s < series_count; s++) {
        fprintf(gnuplot, "$series%d << END\n", s);
        for (int i = 0; i < all_series[s].count; i++)
            fprintf(gnuplot, "%.9g %.9g\n", points[all_series[s].first + i].x,
                    points[all_series[s].first + i].y);
        fputs("END\n", gnuplot);
    }
    fputs("plot", gnuplot);
    for (int s = 0; s < series_count; s++) {
        fprintf(gnuplot, "%s $series%d title \"%s\" ", s > 0 ? "," : "", s, all_series[s].name);
        print_style(gnuplot, s);
    }
    putc('\n', gnuplot);
}

void plot_end(void)
{
    const char *name = plot.name != NULL ? plot.name : lab_part_name();
    struct lab_path path = lab_path(name, "-plot.svg");
    int status = -1;

    if (!lab_quick)
        print_bars();
    lab_claim(path.text);
    FILE *gnuplot = popen("command -v gnuplot >/dev/null && exec gnuplot -", "w");
    if (gnuplot != NULL) {
        print_script(gnuplot, path.text);
        status = pclose(gnuplot);
    }
    if (status == 0)
        lab_picture(name, "-plot.svg", plot.title);
    if (status != 0 && !lab_quick)
        lab_say("(with gnuplot installed there would be a picture of it)");
}
