/* log.h: one line a message on stderr, "program: text"; a level from $DROVER_LOG (error, warning, info,
 * debug; warning unless set).  For the long-lived processes; commands report their errors through cli/. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* log_open(program): name put before each line (kept, not copied); reads $DROVER_LOG.  Call once, early. */
void log_open(const char *program);
/* log_at(level, format, …): any thread; a line is written by one write(2).  Control characters in what was
 * formatted are shown as '?', since parts of it may come from a guest or the wire; a line
 * over 2 KiB is cut and ends with "...".  Leaves errno alone. */
void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_at(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LOG_DEBUG, __VA_ARGS__)

#endif
