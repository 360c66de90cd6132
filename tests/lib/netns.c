/* netns.c: see netns.h. */
#include "tests/lib/netns.h"
#include "common/io.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000 };

unsigned if_nametoindex(const char *name); /* <net/if.h> and <linux/if.h> exclude each other */

static struct ifreq request_for(const char *name)
{
	struct ifreq request = {0};
	assert_true(strlen(name) < sizeof(request.ifr_name));
	memcpy(request.ifr_name, name, strlen(name));
	return request;
}

static void control(unsigned long what, void *arg)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (ioctl(fd, what, arg))
		fail_msg("network request 0x%lx: %s", what, strerror(errno));
	close(fd);
}

void netns_enter(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
	if (fd < 0) /* a kernel without it */
		return;
	assert_int_equal(write(fd, "1", 1), 1);
	close(fd);
}

static void up(const char *name)
{
	struct ifreq request = request_for(name);
	control(SIOCGIFFLAGS, &request);
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
	control(SIOCSIFFLAGS, &request);
}

/* The state of an interface as its protocol says it (RFC 2863).  Flags would say "running" too where it is unknown. */
static uint8_t operational(const char *name)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} request = {
	    .head = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST},
	    .link = {.ifi_index = (int)if_nametoindex(name)}};
	static union {
		struct nlmsghdr head;
		uint8_t bytes[16384];
	} answer;
	uint8_t state = IF_OPER_UNKNOWN;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	assert_int_equal(send(fd, &request, sizeof(request), 0), sizeof(request));
	ssize_t n = recv(fd, &answer, sizeof(answer), 0);
	close(fd);
	assert_true(n > 0 && answer.head.nlmsg_type == RTM_NEWLINK);
	int left = (int)IFLA_PAYLOAD(&answer.head);
	for (struct rtattr *at = IFLA_RTA(NLMSG_DATA(&answer.head)); RTA_OK(at, left);
	     at = RTA_NEXT(at, left))
		if (at->rta_type == IFLA_OPERSTATE)
			state = *(uint8_t *)RTA_DATA(at);
	return state;
}

void netns_running(const char *name)
{
	const struct timespec moment = {.tv_nsec = 200000};
	uint64_t began = clock_mono_ns();
	while (operational(name) != IF_OPER_UP) {
		if (clock_mono_ns() - began > PATIENCE_MS * 1000000ull)
			fail_msg("interface %s does not run", name);
		nanosleep(&moment, NULL);
	}
}

void netns_tap(const char *name)
{
	struct ifreq request = request_for(name);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	request.ifr_flags = IFF_TAP | IFF_NO_PI;
	assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
	up(name);
}

void netns_bridge(const char *name)
{
	char copy[IFNAMSIZ] = "";
	memcpy(copy, name, strlen(name));
	control(SIOCBRADDBR, copy);
	up(name);
}

static void set_address(const char *name, unsigned long what, const char *address)
{
	struct ifreq request = request_for(name);
	struct sockaddr_in in = {.sin_family = AF_INET};
	assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	memcpy(&request.ifr_addr, &in, sizeof(in));
	control(what, &request);
}

void netns_address(const char *name, const char *address)
{
	set_address(name, SIOCSIFADDR, address);
	set_address(name, SIOCSIFNETMASK, "255.255.255.0");
}

void netns_join(const char *bridge, const char *name)
{
	struct ifreq request = request_for(bridge);
	request.ifr_ifindex = (int)if_nametoindex(name);
	control(SIOCBRADDIF, &request);
}

void netns_delete(const char *name)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} request = {.head = {.nlmsg_len = sizeof(request),
			      .nlmsg_type = RTM_DELLINK,
			      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		     .link = {.ifi_index = (int)if_nametoindex(name)}};
	uint8_t answer[512];
	if (!request.link.ifi_index)
		return;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	assert_int_equal(send(fd, &request, sizeof(request), 0), sizeof(request));
	assert_true(recv(fd, answer, sizeof(answer), 0) > 0);
	close(fd);
	assert_int_equal(if_nametoindex(name), 0);
}

int netns_socket(const char *name)
{
	const int on = 1;
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex(name)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

void netns_send(int fd, const uint8_t header[NETNS_HEADER], const void *frame, size_t len)
{
	uint8_t none[NETNS_HEADER] = {0};
	const struct iovec iov[2] = {{header ? (void *)header : none, NETNS_HEADER}, {(void *)frame, len}};
	if (writev(fd, iov, 2) != (ssize_t)(NETNS_HEADER + len))
		fail_msg("cannot send a frame of %zu bytes: %s", len, strerror(errno));
}

size_t netns_receive(int fd, uint8_t header[NETNS_HEADER], void *frame, size_t cap)
{
	struct pollfd now = {.fd = fd, .events = POLLIN};
	const struct iovec iov[2] = {{header, NETNS_HEADER}, {frame, cap}};
	if (poll(&now, 1, PATIENCE_MS) != 1)
		fail_msg("no frame arrived");
	ssize_t n = readv(fd, iov, 2);
	assert_true(n >= NETNS_HEADER);
	return (size_t)n - NETNS_HEADER;
}

bool netns_silent(int fd)
{
	struct pollfd now = {.fd = fd, .events = POLLIN};
	return poll(&now, 1, 0) == 0;
}
