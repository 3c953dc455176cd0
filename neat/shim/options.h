/* Socket options: the table (optable.c) and who reads it (options.c, tcpinfo.c). */
#ifndef NEAT_OPTIONS_H
#define NEAT_OPTIONS_H

#include "object.h"

/* What NEaT does with an option's value. Every value is Linux's: what it is at first, what is an error,
 * how it is rounded. */
enum option_way {
    WAY_FLAG,                      /* works: a bit of the socket object (`at`: enum neat_option) */
    /* Works: a number of struct settings (`at`: its offset, 0 there: `usual`). */
    WAY_NUMBER,
    WAY_KEPT,                      /* a hint: kept and told, nobody but this host could see a difference */
    WAY_KEPT_FLAG,                 /* the same, on or off */
    WAY_FORGOTTEN,                 /* taken, and `usual` all the same */
    /* NEaT does what `usual` says and nothing else: another value is refused. */
    WAY_ONLY,
};

/* Newer than some headers. */
#define OPT_IP_LOCAL_PORT_RANGE 51

struct option {
    int level, name;
    uint8_t kinds;                 /* of KIND_*: the sockets that have it */
    uint8_t way;                   /* enum option_way */
    uint32_t at;
    int low, high;                 /* outside: EINVAL; a hint with low -1: that is `usual` again */
    int usual;
};

#define KIND_STREAM 1u
#define KIND_DATAGRAM 2u
#define KIND_ALL 3u

/* Of a socket of type `kind`. NULL: not in the table. *row: its number, below NEAT_KEPT. */
const struct option *neat_option_find(int kind, int level, int name, uint32_t *row);

/* options.c: setsockopt, except that nothing is counted: NEAT_UNSUPPORTED when Linux does it and NEaT does
 * not. */
#define NEAT_UNSUPPORTED (-4095)
int neat_set_option(struct neat_socket *s, int fd, int level, int name, const void *value, socklen_t length);
/* Counts it, and says what Linux says to what it does not know. */
int neat_refuse(enum neat_refusal kind, int level, int name);
/* Hears of what is refused; NULL: nobody does. */
extern void (*neat_on_refusal)(enum neat_refusal kind, int level, int name);

#define ENGINE "reno"              /* neat/stack/tcp/congestion.pyx: NewReno, as Linux's of that name */
/* Sockets of this kind have options of this level. */
bool neat_option_level(const struct neat_socket *s, int level);

#endif
