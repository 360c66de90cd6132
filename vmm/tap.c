/* tap.c: see tap.h. */
#include "vmm/tap.h"
#include "common/io.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DRAIN_MAX = 4096 }; /* frames; more than a tap keeps by default */

static const char *user(void)
{
	const struct passwd *me = getpwuid(geteuid());
	return me ? me->pw_name : "root";
}

static int no_device(const char *name, struct err *err)
{
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return err_set(err, ERR_SYSTEM,
			       "tap %s: this host has no /dev/net/tun; load it as root: modprobe tun", name);
	return err_sys(err, "tap %s: cannot open /dev/net/tun", name);
}

static int refused(const char *name, struct err *err)
{
	switch (errno) {
	case EPERM:
		return err_set(err, ERR_SYSTEM,
			       "tap %s belongs to another user; as root: ip tuntap del dev %s mode tap; "
			       "ip tuntap add dev %s mode tap user %s",
			       name, name, name, user());
	case EBUSY:
		return err_set(err, ERR_SYSTEM,
			       "tap %s is used by another process; give each network device a tap of its own",
			       name);
	case EINVAL:
		return err_set(
		    err, ERR_SYSTEM,
		    "interface %s is no tap with one queue; as root make one under another name: ip "
		    "tuntap add dev NAME mode tap user %s",
		    name, user());
	default:
		return err_sys(err, "cannot attach to tap %s", name);
	}
}

/* What the kernel of this host takes, all or nothing of each row. */
static unsigned probe(int fd)
{
	static const unsigned steps[] = {TUN_F_CSUM, TUN_F_TSO4 | TUN_F_TSO6, TUN_F_TSO_ECN, TUN_F_UFO};
	unsigned able = 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!ioctl(fd, TUNSETOFFLOAD, (unsigned long)(able | steps[i])))
			able |= steps[i];
	return ioctl(fd, TUNSETOFFLOAD, 0ul) ? 0 : able;
}

static int take(struct tap *tap, struct err *err)
{
	int header = TAP_HEADER;
	if (ioctl(tap->fd, TUNSETVNETHDRSZ, &header))
		return err_sys(err, "tap %s: cannot have headers of %d bytes", tap->name, header);
	tap->able = probe(tap->fd);
	return 0;
}

int tap_name(int fd, char name[CONFIG_TAP_MAX + 1], struct err *err)
{
	const short wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	struct ifreq request = {.ifr_flags = 0};
	if (fcntl(fd, F_GETFD) < 0)
		return err_set(err, ERR_INPUT, "descriptor %d is not open", fd);
	if (ioctl(fd, TUNGETIFF, &request) || !(request.ifr_flags & IFF_TAP))
		return err_set(err, ERR_INPUT,
			       "descriptor %d is no tap: it wants one that TUNSETIFF has attached", fd);
	if ((request.ifr_flags & wanted) != wanted)
		return err_set(
		    err, ERR_INPUT,
		    "descriptor %d: tap %.15s was opened without %s; attach it with IFF_TAP | IFF_NO_PI | "
		    "IFF_VNET_HDR",
		    fd, request.ifr_name, request.ifr_flags & IFF_NO_PI ? "IFF_VNET_HDR" : "IFF_NO_PI");
	memcpy(name, request.ifr_name, CONFIG_TAP_MAX);
	name[CONFIG_TAP_MAX] = '\0';
	return 0;
}

int tap_adopt(struct tap *tap, int fd, struct err *err)
{
	*tap = (struct tap){.fd = -1};
	if (tap_name(fd, tap->name, err))
		return -1;
	tap->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int flags = tap->fd < 0 ? -1 : fcntl(tap->fd, F_GETFL);
	if (flags < 0 || fcntl(tap->fd, F_SETFL, flags | O_NONBLOCK))
		err_sys(err, "tap %s: cannot use its descriptor", tap->name);
	else if (!take(tap, err))
		return 0;
	io_close(&tap->fd);
	return -1;
}

int tap_open(struct tap *tap, const char *name, struct err *err)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	*tap = (struct tap){.fd = -1};
	snprintf(tap->name, sizeof(tap->name), "%s", name);
	memcpy(request.ifr_name, tap->name, sizeof(tap->name));
	/* TUNSETIFF would make one that vanishes with this process. */
	if (!if_nametoindex(name))
		return err_set(
		    err, ERR_SYSTEM,
		    "there is no network interface %s; as root: ip tuntap add dev %s mode tap user %s", name,
		    name, user());
	tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap->fd < 0)
		return no_device(name, err);
	if (ioctl(tap->fd, TUNSETIFF, &request))
		refused(name, err);
	else if (!take(tap, err))
		return 0;
	io_close(&tap->fd);
	return -1;
}

void tap_close(struct tap *tap)
{
	io_close(&tap->fd);
}

void tap_drain(struct tap *tap)
{
	uint8_t some[TAP_HEADER + 1]; /* what does not fit is dropped with it */
	for (unsigned i = 0; i < DRAIN_MAX && read(tap->fd, some, sizeof(some)) > 0; i++)
		;
}

int tap_set_offloads(struct tap *tap, unsigned offloads)
{
	unsigned before = tap->offloads;
	if (before == offloads)
		return 0;
	if (ioctl(tap->fd, TUNSETOFFLOAD, (unsigned long)offloads))
		return -1;
	tap->offloads = offloads;
	if (before & ~offloads)
		tap_drain(tap);
	return 0;
}
