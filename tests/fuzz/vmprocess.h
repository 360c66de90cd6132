/* vmprocess.h: what stands in for a VM process where the code that starts one is fuzzed: it answers requests as vmm/requests.c does, around the RAM it
 * was given, and makes no machine: what comes as a machine state is fuzzed by itself.  With it the program needs no KVM, and starts no process. */
#ifndef TESTS_FUZZ_VMPROCESS_H
#define TESTS_FUZZ_VMPROCESS_H

/* Here is spawn_vm (vmm/spawn.h), for one at a time.
 * vmprocess_end(): it ends, as one that is killed, if there is one; harmless without.  vmprocess_reap(): the same, and all it had is freed. */
void vmprocess_end(void);
void vmprocess_reap(void);

#endif
