/* cpuid_model.h: baselines: CPUID features that many hosts have, so that a guest may move to any of them.
 * Source: System V ABI, AMD64 supplement, "Micro-Architecture Levels" (x86-64-v2, x86-64-v3). */
#ifndef VMM_CPUID_MODEL_H
#define VMM_CPUID_MODEL_H

#include "common/err.h"
#include "vmm/config.h"
#include "vmm/cpuid.h"

/* cpuid_apply_model(table, model, err): take from the host's table what the baseline does not have.  Features that a level
 * demands must be there: otherwise -1 with ERR_REFUSED naming the first few that this CPU lacks.  CPU_HOST changes
 * nothing.  What stays beside the level: what every such CPU has and kernels want (NX, PAT, the timers), KVM's own
 * features, and the bits by which a guest protects itself against speculation where the host has them.  Pure. */
int cpuid_apply_model(struct cpuid_table *table, enum cpu_model model, struct err *err);

#endif
