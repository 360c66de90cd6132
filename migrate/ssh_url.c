/* ssh_url.c: ssh://[user@]host[:port], strictly. */
#include "migrate/ssh.h"

#include "common/units.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const char scheme[] = "ssh://";

static int bad_url(const char *url, const char *why, struct err *err)
{
	return err_set(err, ERR_USAGE, "\"%.200s\" is not a host: %s (expected ssh://[user@]host[:port])",
		       url, why);
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* A name that can be mistaken for an option, or that a shell (ProxyCommand's) would take apart, is none. */
static bool name_valid(const char *name, const char *others)
{
	if (!is_alnum(name[0]) && name[0] != '_')
		return false;
	for (; *name; name++)
		if (!is_alnum(*name) && !strchr(others, *name))
			return false;
	return true;
}

static int take(const char *from, size_t len, char *to, size_t cap)
{
	if (len == 0 || len >= cap)
		return -1;
	memcpy(to, from, len);
	to[len] = 0;
	return 0;
}

/* An IPv6 address, perhaps with a scope ("fe80::1%eth0"). */
static bool ipv6_valid(const char *host)
{
	char address[INET6_ADDRSTRLEN];
	struct in6_addr binary;
	size_t len = strcspn(host, "%");

	if (host[len] == '%' && !name_valid(host + len + 1, "._-"))
		return false;
	return take(host, len, address, sizeof(address)) == 0 && inet_pton(AF_INET6, address, &binary) == 1;
}

static int parse_port(const char *url, const char *text, uint16_t *port, struct err *err)
{
	uint64_t value;

	if (units_parse_uint(text, 1, 65535, &value, NULL) < 0)
		return bad_url(url, "the port is not a number from 1 to 65535", err);
	*port = (uint16_t)value;
	return 0;
}

/* at: "host", "host:port", "[address]" or "[address]:port" */
static int parse_host(const char *url, const char *at, struct ssh_target *target, struct err *err)
{
	const char *end;

	if (*at == '[') {
		end = strchr(at, ']');
		if (!end || take(at + 1, (size_t)(end - at - 1), target->host, sizeof(target->host)) < 0 ||
		    !ipv6_valid(target->host))
			return bad_url(url, "there is no IPv6 address between the brackets", err);
		end++;
		if (*end && *end != ':')
			return bad_url(url, "something other than :port follows the address", err);
	} else {
		end = at + strcspn(at, ":");
		if (*end && strchr(end + 1, ':'))
			return bad_url(url, "an IPv6 address needs brackets", err);
		if (end == at)
			return bad_url(url, "the host is missing", err);
		if (take(at, (size_t)(end - at), target->host, sizeof(target->host)) < 0)
			return bad_url(url, "the host's name is too long", err);
		if (!name_valid(target->host, "._-"))
			return bad_url(url, "the host's name has characters that no name has", err);
	}
	return *end ? parse_port(url, end + 1, &target->port, err) : 0;
}

int ssh_url_parse(const char *url, struct ssh_target *target, struct err *err)
{
	const char *at = url;
	const char *host;

	target->user[0] = target->host[0] = 0;
	target->port = 0;
	if (strncmp(url, scheme, sizeof(scheme) - 1) != 0)
		return bad_url(url, "it does not begin with ssh://", err);
	at += sizeof(scheme) - 1;
	if (strpbrk(at, "/?#"))
		return bad_url(url, "a path or query has no meaning here", err);
	host = strrchr(at, '@');
	if (host) {
		if (memchr(at, ':', (size_t)(host - at)))
			return bad_url(url, "a password cannot be given; use a key", err);
		if (take(at, (size_t)(host - at), target->user, sizeof(target->user)) < 0 ||
		    !name_valid(target->user, "._-+"))
			return bad_url(
			    url, "the user's name is empty, too long or has characters that no name has",
			    err);
		at = host + 1;
	}
	return parse_host(url, at, target, err);
}

const char *ssh_url_format(const struct ssh_target *target, char *text, size_t cap)
{
	bool v6 = strchr(target->host, ':') != NULL;
	int len = snprintf(text, cap, "ssh://%s%s%s%s%s", target->user, target->user[0] ? "@" : "",
			   v6 ? "[" : "", target->host, v6 ? "]" : "");

	if (target->port && len > 0 && (size_t)len < cap)
		snprintf(text + len, cap - (size_t)len, ":%u", target->port);
	return text;
}
