/* Tasks that keep patterns in XMM registers and count what changes them. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdint.h>

/* Shared by all tasks; `stop` ends them. */
struct counts {
	volatile int stop;
	volatile uint64_t hog, sleeper, kernel_user, vmm, guest; /* registers that had changed */
	volatile uint64_t hog_rounds, sleeper_rounds, kernel_rounds, entries;
};

extern struct counts *counts;

void pin(int cpu);
void die(const char *what);

/* XMM8-11 hold a pattern across one system call; returns its result, adds changes to *changed. */
long call_with_pattern(long number, long a, long b, long c, uint64_t seed,
		       volatile uint64_t *changed);

void run_vm(int vcpus);   /* until stop: a thread named "CPU n/KVM" for each vCPU */
void run_kernel_user(void); /* until stop: AES through AF_ALG, so kernel_fpu_begin() */

#endif
