/* leftovers.c: see leftovers.h.  What cannot be removed is passed over: the next start of the VM replaces it. */
#include "vmm/leftovers.h"
#include "common/paths.h"
#include "vmm/ledger.h"
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

static void remove_ports(const char *path)
{
	DIR *list = opendir(path);
	const struct dirent *entry;
	if (!list)
		return;
	while ((entry = readdir(list)))
		unlinkat(dirfd(list), entry->d_name, 0); /* refuses . and .. */
	closedir(list);
	rmdir(path);
}

void leftovers_sockets(const char *name)
{
	char path[PATHS_MAX];
	if (!paths_vm_ports(name, NULL, path, NULL))
		remove_ports(path);
	if (!paths_vm_socket(name, path, NULL))
		unlink(path);
}

static void remove_folder(const char *name, int folder)
{
	static const char *const files[] = {"handover", "console.log", "vm.log", "lock"};
	char path[PATHS_MAX];
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlinkat(folder, files[i], 0);
	if (!paths_vm_dir(name, path, NULL))
		rmdir(path);
}

void leftovers_remove(const char *name)
{
	struct ledger ledger;
	if (ledger_open(&ledger, name, NULL))
		return;
	leftovers_sockets(name);
	if (ledger.now.state == LEDGER_NONE)
		remove_folder(name, ledger.dir_fd);
	ledger_close(&ledger);
}
