/* workload SECONDS [VCPUS]: exits with 1 when any task's registers changed under it. */
#define _GNU_SOURCE
#include "workload.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct counts *counts;

void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(2);
}

void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void fill(uint64_t pattern[8], uint64_t seed)
{
	for (int i = 0; i < 8; i++)
		pattern[i] = seed * 0x9e3779b97f4a7c15u + i * 0x1000193u;
}

static void compare(const uint64_t *a, const uint64_t *b, volatile uint64_t *changed)
{
	for (int i = 0; i < 4; i++)
		*changed += a[2 * i] != b[2 * i] || a[2 * i + 1] != b[2 * i + 1];
}

long call_with_pattern(long number, long a, long b, long c, uint64_t seed,
		       volatile uint64_t *changed)
{
	uint64_t before[8], after[8];
	long result;

	fill(before, seed);
	asm volatile("movdqu (%[b]), %%xmm8\n\t movdqu 16(%[b]), %%xmm9\n\t"
		     "movdqu 32(%[b]), %%xmm10\n\t movdqu 48(%[b]), %%xmm11\n\t"
		     "xor %%r10d, %%r10d\n\t"
		     "syscall\n\t"
		     "movdqu %%xmm8, (%[a])\n\t movdqu %%xmm9, 16(%[a])\n\t"
		     "movdqu %%xmm10, 32(%[a])\n\t movdqu %%xmm11, 48(%[a])"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c), [b] "r"(before), [a] "r"(after)
		     : "rcx", "r11", "r10", "xmm8", "xmm9", "xmm10", "xmm11", "memory");
	compare(before, after, changed);
	return result;
}

/* Uses the CPU all the time; only preemption takes its registers away. */
static void hog(void)
{
	uint64_t before[8], after[8];

	pin(0);
	prctl(PR_SET_NAME, "fphog");
	for (uint64_t seed = 1; !counts->stop; seed++) {
		fill(before, seed);
		asm volatile("movdqu (%[b]), %%xmm8\n\t movdqu 16(%[b]), %%xmm9\n\t"
			     "movdqu 32(%[b]), %%xmm10\n\t movdqu 48(%[b]), %%xmm11\n\t"
			     "mov $200000, %%ecx\n\t"
			     "1: dec %%ecx\n\t jnz 1b\n\t"
			     "movdqu %%xmm8, (%[a])\n\t movdqu %%xmm9, 16(%[a])\n\t"
			     "movdqu %%xmm10, 32(%[a])\n\t movdqu %%xmm11, 48(%[a])"
			     :
			     : [b] "r"(before), [a] "r"(after)
			     : "rcx", "xmm8", "xmm9", "xmm10", "xmm11", "memory");
		compare(before, after, &counts->hog);
		counts->hog_rounds++;
	}
}

static void sleeper(void)
{
	struct timespec nap = { 0, 2000000 };

	pin(1);
	prctl(PR_SET_NAME, "fpsleeper");
	for (uint64_t seed = 1; !counts->stop; seed++) {
		call_with_pattern(SYS_nanosleep, (long)&nap, 0, 0, seed, &counts->sleeper);
		counts->sleeper_rounds++;
	}
}

static void vm(void)
{
	run_vm(2);
}

/* SIGTERM ends the sleep, and the tasks are told to stop. */
static void wake(int sig)
{
	(void)sig;
}

int main(int argc, char **argv)
{
	void (*tasks[])(void) = { hog, sleeper, run_kernel_user, vm };
	double seconds = argc > 1 ? atof(argv[1]) : 4;
	struct timespec time = { (time_t)seconds, (long)((seconds - (long)seconds) * 1e9) };
	int status, bad = 0;

	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (counts == MAP_FAILED)
		die("mmap");
	for (unsigned i = 0; i < sizeof(tasks) / sizeof(*tasks); i++) {
		pid_t child = fork();
		if (child < 0)
			die("fork");
		if (!child) {
			tasks[i]();
			_exit(0);
		}
	}
	signal(SIGTERM, wake);
	nanosleep(&time, NULL);
	counts->stop = 1;
	while (wait(&status) > 0)
		bad |= status;
	printf("rounds: hog %lu, sleeper %lu, kernel user %lu, vm entries %lu\n",
	       counts->hog_rounds, counts->sleeper_rounds, counts->kernel_rounds, counts->entries);
	printf("canary: hog %lu, sleeper %lu, kernel user %lu, vmm %lu, guest %lu\n", counts->hog,
	       counts->sleeper, counts->kernel_user, counts->vmm, counts->guest);
	if (bad)
		return 2;
	return counts->hog || counts->sleeper || counts->kernel_user || counts->vmm || counts->guest;
}
