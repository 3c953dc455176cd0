/* Where a socket goes: to NEaT or to the kernel.
 *
 * NEAT_ROUTES (`neat run --route`, and the settings) is a list of rules, separated by commas; the first that
 * matches decides:
 *   CIDR=neat|kernel        for peers: connect(), and datagrams from a socket that is not bound
 *   bind:CIDR=neat|kernel   for local addresses: bind(), and listen() without one; bind:0.0.0.0 and bind:::
 *                           are the wildcards
 *   default=neat|kernel     peers for which neither a rule nor a built-in one says anything; wherever in the
 *                           list it stands
 * An address without /LENGTH is that address alone. The stack speaks IPv4: IPv4-mapped addresses (RFC 4291
 * §2.5.5.2) are looked for as IPv4, and no other IPv6 address can go to it.
 *
 * Built in, after the rules:
 *   peers: 0.0.0.0/8 and 127.0.0.0/8 (this host), 224.0.0.0/4 (no multicast on the stack), IPv6: kernel. The
 *   stack's own network, and 255.255.255.255: neat. Everything else: the default, which is neat, by way of
 *   the stack's gateway.
 *   local addresses: the stack's own, the wildcard: neat. Everything else: kernel, which knows whether it has
 *   that address.
 *
 * NEAT_ADDRESS (`neat run`) says the stack's address and network; without it the stack is asked, when that
 * matters.
 */
#include <arpa/inet.h>

#include "../order.h"
#include "preload.h"

#define MAX_RULES 64

struct host {
    bool v4;
    uint8_t bytes[16];             /* IPv4: in the first four */
};

struct rule {
    struct host host;
    int length;
    bool local;                    /* for bind() */
    enum route route;
};

static struct rule rules[MAX_RULES];
static int rule_count;
static enum route by_default = ROUTE_NEAT;
static struct host stack_host;
static int stack_prefix = -1;      /* stack_host is not known */

static bool matches(const struct host *host, const struct host *network, int length) {
    if (host->v4 != network->v4 || memcmp(host->bytes, network->bytes, (size_t)length / 8))
        return false;
    int left = length % 8;
    return !left || ((host->bytes[length / 8] ^ network->bytes[length / 8]) >> (8 - left)) == 0;
}

static bool parse_host(const char *text, struct host *host) {
    memset(host, 0, sizeof *host);
    host->v4 = inet_pton(AF_INET, text, host->bytes) == 1;
    return host->v4 || inet_pton(AF_INET6, text, host->bytes) == 1;
}

/* ADDRESS or ADDRESS/LENGTH. Writes into `text`. */
static bool parse_network(char *text, struct host *host, int *length) {
    char *slash = strchr(text, '/'), *end = NULL;
    if (slash)
        *slash = '\0';
    if (!parse_host(text, host))
        return false;
    int most = host->v4 ? 32 : 128;
    long value = slash ? strtol(slash + 1, &end, 10) : most;
    if (slash && (end == slash + 1 || *end))
        return false;
    *length = (int)value;
    return value >= 0 && value <= most;
}

/* One rule; NULL, or what is wrong with it. Writes into `text`. */
static const char *parse_rule(char *text) {
    struct rule rule = {.route = ROUTE_KERNEL};
    char *equals = strchr(text, '=');
    if (!equals)
        return "is not ADDRESS=neat or ADDRESS=kernel";
    *equals = '\0';
    if (!strcmp(equals + 1, "neat"))
        rule.route = ROUTE_NEAT;
    else if (strcmp(equals + 1, "kernel"))
        return "must go to neat or kernel";
    if (!strcmp(text, "default")) {
        by_default = rule.route;
        return NULL;
    }
    rule.local = !strncmp(text, "bind:", 5);
    if (!parse_network(text + (rule.local ? 5 : 0), &rule.host, &rule.length))
        return "has no network of the form 10.0.0.0/8 or fd00::/8";
    if (!rule.host.v4 && rule.route == ROUTE_NEAT && !(rule.local && rule.length == 128))
        return "cannot be: the stack speaks IPv4 only";
    if (rule_count == MAX_RULES)
        return "is one rule too many";
    rules[rule_count++] = rule;
    return NULL;
}

AT_START(ORDER_CALLS) void set_up_routes(void) {
    const char *set = getenv("NEAT_ROUTES"), *address = getenv("NEAT_ADDRESS");
    char *copy = set ? strdup(set) : NULL, *state = NULL, own_text[64];
    for (char *text = copy ? strtok_r(copy, ", ", &state) : NULL; text; text = strtok_r(NULL, ", ", &state)) {
        char kept[128];
        snprintf(kept, sizeof kept, "%s", text);
        const char *wrong = parse_rule(text);
        if (wrong)
            libc(dprintf)(STDERR_FILENO, "neat: NEAT_ROUTES: \"%s\" %s; it is passed over\n", kept, wrong);
    }
    free(copy);
    if (!address || !*address)
        return;
    struct host host;
    int prefix;
    snprintf(own_text, sizeof own_text, "%s", address);
    if (parse_network(own_text, &host, &prefix) && host.v4) {
        stack_host = host;
        stack_prefix = prefix;
    } else {
        libc(dprintf)(STDERR_FILENO,
                      "neat: NEAT_ADDRESS: \"%s\" is not an address of the form 10.77.0.2/24\n", address);
    }
}

/* The stack's address and network. False: it does not answer, so nothing is known. */
static bool stack_address(struct host *host, int *prefix) {
    struct neat_addr local;
    uint32_t bits;
    if (stack_prefix >= 0) {
        *host = stack_host;
        *prefix = stack_prefix;
        return true;
    }
    if (neat_stack_address(&local, &bits) < 0 || bits > 32)
        return false;
    *host = (struct host){.v4 = true};
    memcpy(host->bytes, local.addr, 4);
    *prefix = (int)bits;
    return true;
}

/* False: not an address that this family's sockets take; the kernel knows the errno. */
static bool host_of(int family, int type, const struct sockaddr *address, socklen_t length,
                    struct host *host) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memset(host, 0, sizeof *host);
    if (!address || length < (socklen_t)sizeof(struct sockaddr_in))
        return false;
    if (address->sa_family == AF_INET) {
        host->v4 = true;
        memcpy(host->bytes, &((const struct sockaddr_in *)address)->sin_addr, 4);
        return family == AF_INET || type == SOCK_DGRAM;
    }
    if (address->sa_family != AF_INET6 || family != AF_INET6 ||
        length < (socklen_t)offsetof(struct sockaddr_in6, sin6_scope_id))
        return false;
    memcpy(host->bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
    if (!memcmp(host->bytes, mapped, sizeof mapped)) {
        host->v4 = true;
        memmove(host->bytes, host->bytes + 12, 4);
        memset(host->bytes + 4, 0, 12);
    }
    return true;
}

static const struct rule *find_rule(const struct host *host, bool local) {
    for (int i = 0; i < rule_count; i++)
        if (rules[i].local == local && matches(host, &rules[i].host, rules[i].length))
            return &rules[i];
    return NULL;
}

static enum route say(enum route route, const char **why, const char *reason) {
    *why = reason;
    return route;
}

enum route route_bind(int family, int type, const struct sockaddr *address, socklen_t length, bool v6only,
                      const char **why) {
    static const struct host none = {0};
    struct host host, stack;
    int prefix;
    if (!host_of(family, type, address, length, &host) ||
        (family == AF_INET6 && address->sa_family != AF_INET6))
        return say(ROUTE_KERNEL, why, "not an address of its family");
    bool wildcard = !memcmp(host.bytes, none.bytes, sizeof none.bytes);
    const struct rule *rule = find_rule(&host, true);
    if (!host.v4 && (!wildcard || v6only))
        return say(ROUTE_KERNEL, why, "IPv6");
    if (rule)
        return say(rule->route, why, "a rule");
    if (wildcard)
        return say(ROUTE_NEAT, why, "wildcard");
    if (host.bytes[0] == 127)
        return say(ROUTE_KERNEL, why, "loopback");
    if (stack_address(&stack, &prefix) && matches(&host, &stack, 32))
        return say(ROUTE_NEAT, why, "the stack's address");
    return say(ROUTE_KERNEL, why, "not the stack's address");
}

enum route route_connect(int family, int type, const struct sockaddr *address, socklen_t length,
                         const char **why) {
    struct host host, stack;
    int prefix;
    if (!host_of(family, type, address, length, &host))
        return say(ROUTE_KERNEL, why, "");
    const struct rule *rule = find_rule(&host, false);
    if (rule)
        return say(rule->route, why, "a rule");
    if (!host.v4)
        return say(ROUTE_KERNEL, why, "IPv6");
    if (host.bytes[0] == 127 || host.bytes[0] == 0)
        return say(ROUTE_KERNEL, why, "loopback");
    if (host.bytes[0] >> 4 == 0xe)
        return say(ROUTE_KERNEL, why, "multicast");
    if (!memcmp(host.bytes, "\xff\xff\xff\xff", 4))
        return say(ROUTE_NEAT, why, "broadcast");
    if (by_default == ROUTE_NEAT)
        return say(ROUTE_NEAT, why, "default");
    if (stack_address(&stack, &prefix) && matches(&host, &stack, prefix))
        return say(ROUTE_NEAT, why, "the stack's network");
    return say(ROUTE_KERNEL, why, "default");
}
