/* cpu_names.c: names of CPUID bits (Intel SDM volume 2A; AMD APM volume 3, appendix E; KVM's: cpuid.rst). */
#include "vmm/cpu_names.h"
#include <stdio.h>
#include <string.h>

/* One word a bit, from bit 0; "-" where there is no name to know. */
static const struct {
	const char *key, *names;
} registers[] = {
    {"1.0.ecx", "sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - "
		"pcid dca sse4_1 "
		"sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor"},
    {"1.0.edx", "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts "
		"acpi mmx fxsr sse "
		"sse2 ss ht tm ia64 pbe"},
    {"6.0.eax", "dtherm ida arat"},
    {"7.0.ebx", "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm "
		"zero_fcs_fds mpx rdt_a "
		"avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er "
		"avx512cd sha_ni "
		"avx512bw avx512vl"},
    {"7.0.ecx",
     "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni "
     "avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri "
     "movdir64b "
     "enqcmd sgx_lc pks"},
    {"7.0.edx", "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect srbds_ctrl md_clear "
		"rtm_always_abort - - "
		"serialize hybrid_cpu tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile "
		"amx_int8 spec_ctrl stibp "
		"flush_l1d arch_capabilities core_capabilities ssbd"},
    {"7.1.eax",
     "sha512 sm3 sm4 - avx_vnni avx512_bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - - - - - amx_fp16 - "
     "avx_ifma"},
    {"d.1.eax", "xsaveopt xsavec xgetbv1 xsaves xfd"},
    {"80000001.0.ecx",
     "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt "
     "- lwp "
     "fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx"},
    {"80000001.0.edx", "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb "
		       "rdtscp - lm 3dnowext 3dnow"},
    {"80000007.0.edx", "- - - - - - - - constant_tsc"},
    {"80000008.0.ebx", "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - ibpb - ibrs stibp - - - - - - "
		       "- - amd_ssbd virt_ssbd "
		       "amd_ssb_no"},
    {"40000001.0.eax", "kvm_clocksource kvm_nop_io_delay - kvm_clocksource2 kvm_asyncpf kvm_steal_time "
		       "kvm_pv_eoi kvm_pv_unhalt - "
		       "kvm_pv_tlb_flush kvm_asyncpf_vmexit kvm_pv_send_ipi kvm_poll_control "
		       "kvm_pv_sched_yield kvm_asyncpf_int "
		       "kvm_msi_ext_dest_id - - - - - - - - kvm_clocksource_stable"},
};

/* The n-th word of a list, its length in *len; NULL when it has no such word or it is "-". */
static const char *nth_word(const char *names, unsigned n, size_t *len)
{
	while (n-- && *names) {
		names += strcspn(names, " ");
		names += strspn(names, " ");
	}
	*len = strcspn(names, " ");
	return *len && *names != '-' ? names : NULL;
}

const char *cpu_bit_name(const char *key, unsigned bit, char *text, size_t len)
{
	for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		size_t name_len;
		const char *name;
		if (strcmp(key, registers[i].key))
			continue;
		name = nth_word(registers[i].names, bit, &name_len);
		if (name) {
			snprintf(text, len, "%.*s", (int)name_len, name);
			return text;
		}
	}
	snprintf(text, len, "CPUID %s bit %u", key, bit);
	return text;
}
