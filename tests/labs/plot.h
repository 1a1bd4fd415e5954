/* plot: figures as a picture, NAME.svg, where gnuplot is installed; as bars in the terminal. */
#ifndef TESTS_LABS_PLOT_H
#define TESTS_LABS_PLOT_H

enum plot_style { PLOT_POINTS, PLOT_LINE, PLOT_BOXES };

/* One plot at a time: begin, then for each series its name and its points, then end. The axes'
   names give the units. unit stands behind the bars' figures. Lines that come after as many
   series of points are what the points are to be compared with: they have the same colours. */
struct plot {
    const char *name; /* of the file; NULL: the part's */
    const char *title, *x, *y, *unit;
    int log_x, log_y; /* the base of a logarithmic axis; 0: linear */
};
void plot_begin(const struct plot *plot);
void plot_series(const char *name, enum plot_style style);
void plot_point(double x, double y);
void plot_end(void);

#endif
