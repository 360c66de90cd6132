/* config.h: what a VM is, before it runs: the one description that `drover run`, the hand-over and the VM
 * process share.  It travels as JSON. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include "common/err.h"
#include "vmm/limits.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	CONFIG_MAX_CPUS = 64,
	CONFIG_NAME_MAX = 63,
	CONFIG_UUID_LEN = 36,
	CONFIG_CMDLINE_MAX = 2047, /* Linux's COMMAND_LINE_SIZE less the NUL */
};
#define CONFIG_MIN_MEMORY (4ull << 20)
#define CONFIG_MAX_MEMORY (4ull << 40)

enum dirty_mode {
	DIRTY_AUTO,   /* whichever is cheaper: the bitmap, or the ring for a guest of more than 16 GiB */
	DIRTY_RING,   /* KVM_CAP_DIRTY_LOG_RING */
	DIRTY_BITMAP, /* KVM_GET_DIRTY_LOG with manual protect */
};

enum device_kind { DEVICE_DISK, DEVICE_NET, DEVICE_RNG, DEVICE_CONSOLE, DEVICE_BALLOON, DEVICE_KINDS };
enum disk_format { DISK_DVOL, DISK_RAW };

enum {
	CONFIG_MAX_DEVICES = 30,
	CONFIG_MAX_PORTS = 8,   /* of a console device */
	CONFIG_PORT_MAX = 63,   /* characters of a port's name */
	CONFIG_SERIAL_MAX = 20, /* characters of a disk's serial number: what virtio-blk has room for */
	CONFIG_TAP_MAX = 15,    /* characters of an interface's name */
	CONFIG_MAX_DISK_QUEUES = 16,
	CONFIG_MAX_INHERITED = 7, /* taps that come as descriptors: one packet's, beside the RAM's */
	CONFIG_FIRST_SLOT = 1,    /* of the PCI bus; 0 is the host bridge */
	CONFIG_LAST_SLOT = 31,
};

/* A device on the PCI bus.  Its slot is given once, in the definition, and stays, so that the machine looks the same on
 * every host and after other devices have gone. */
struct device_config {
	enum device_kind kind;
	unsigned slot;
	union {
		struct {
			char *path; /* absolute */
			enum disk_format format;
			bool read_only; /* raw ones always are */
			/* The volume is opened when its content is there (disk.h).  Of this start only: not in JSON. */
			bool later;
			char serial[CONFIG_SERIAL_MAX + 1];
			unsigned queues;
		} disk;
		struct {
			char tap[CONFIG_TAP_MAX +
				 1]; /* an interface that is there; "": connected to nothing */
			uint8_t mac[6];
			/* The tap comes as an open descriptor, not by its name.  Of this start only: not in JSON. */
			bool inherited;
			int fd; /* borrowed */
		} net;
		struct {
			unsigned ports;
			char name[CONFIG_MAX_PORTS][CONFIG_PORT_MAX + 1];
		} console;
	};
};

enum cpu_model {
	CPU_HOST,      /* all that this host has and drover can move */
	CPU_X86_64_V2, /* a baseline (vmm/cpuid_model.h) */
	CPU_X86_64_V3,
};

enum boot_source {
	BOOT_DISK,    /* its first disk */
	BOOT_NETWORK, /* its network cards, by iPXE (vmm/netrom.h), and then its disks */
};

struct vm_config {
	char name[CONFIG_NAME_MAX + 1];
	char uuid[CONFIG_UUID_LEN +
		  1];          /* identity: stays the same on every host; made once by config_new_uuid */
	uint64_t memory_bytes; /* a multiple of 4096 */
	unsigned cpus;
	enum dirty_mode dirty_mode;
	enum cpu_model cpu_model;
	enum boot_source boot; /* of a VM without a kernel */
	bool huge_pages;       /* RAM asks for them (vmm/memory.h) */
	bool emulation;        /* of instructions that this host's KVM lacks (vmm/emulate.h) */
	/* Only for a boot; an incoming VM has none of these.  Paths are absolute. */
	char *kernel;
	char *initrd;   /* or NULL */
	char *cmdline;  /* or NULL */
	char *firmware; /* what starts a VM without a kernel; NULL: FIRMWARE_DEFAULT */
	struct device_config *devices;
	unsigned ndevices;
	struct vm_limits limits; /* settled */
};

/* config_to_json: a new reference.  config_from_json(json, config, err): checks every field (name, uuid form,
 * memory and cpu bounds, lengths); on failure *config is left empty.  config_free frees what it holds. */
json_t *config_to_json(const struct vm_config *config);
int config_from_json(const json_t *json, struct vm_config *config, struct err *err);
void config_free(struct vm_config *config);
/* config_moves_disk(device): it is a disk that the VM writes to, and that moves with it. */
bool config_moves_disk(const struct device_config *device);
/* config_check(config, err): the checks of config_from_json on a struct filled from options. */
int config_check(const struct vm_config *config, struct err *err);
/* The words of the enumerations, in their order; NULL at the end.  config_find_word(words, text, index): which one text is. */
extern const char *const config_cpu_models[];
extern const char *const config_dirty_modes[];
extern const char *const config_boot_sources[];
bool config_find_word(const char *const words[], const char *text, unsigned *index);
/* config_add_device: a zeroed device at the end of the list, in the lowest slot that is free; NULL when there are
 * CONFIG_MAX_DEVICES. */
struct device_config *config_add_device(struct vm_config *config, enum device_kind kind);
/* config_parse_mac(text, mac): "52:54:00:12:34:56": six pairs of hexadecimal digits; false for anything else. */
bool config_parse_mac(const char *text, uint8_t mac[6]);
/* config_new_mac: a random address under 52:54:00, locally administered as those of virtual machines are. */
void config_new_mac(uint8_t mac[6]);
/* For config.c: config_devices.c. */
json_t *config_devices_to_json(const struct vm_config *config);
int config_devices_from_json(const json_t *list, struct vm_config *config, struct err *err);
int config_devices_check(const struct vm_config *config, struct err *err);
void config_devices_free(struct vm_config *config);
/* config_new_uuid: a random (version 4) UUID from getrandom. */
void config_new_uuid(char uuid[CONFIG_UUID_LEN + 1]);
/* config_uuid_valid: the 8-4-4-4-12 lower-case form. */
int config_uuid_valid(const char *uuid);

#endif
