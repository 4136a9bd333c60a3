/* A tiny VMM.  Its guest keeps a pattern in XMM0-6 and counts changes, its threads keep another
 * in XMM8-11 across KVM_RUN (Documentation/virt/kvm/api.rst). */
#define _GNU_SOURCE
#include "workload.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define CODE 0x1000
#define PATTERN 0x2000
#define CHANGED 0x3000
#define MEMORY 0x4000

extern const unsigned char guest_code[], guest_end[];

#define LOAD(n) "movdqu 0x2000+16*" #n ", %xmm" #n "\n"
#define CHECK(n)                                                             \
	"movdqu 0x2000+16*" #n ", %xmm7\n pcmpeqd %xmm" #n ", %xmm7\n"       \
	"pmovmskb %xmm7, %eax\n cmp $0xffff, %eax\n je 3f\n incl 0x3000\n 3:\n"

asm(".pushsection .rodata\n"
    ".globl guest_code, guest_end\n"
    "guest_code:\n"
    ".code16\n"
    "mov %cr0, %eax\n and $0xfffffff3, %eax\n or $2, %eax\n mov %eax, %cr0\n" /* EM, TS off */
    "mov %cr4, %eax\n or $0x600, %eax\n mov %eax, %cr4\n" /* OSFXSR, OSXMMEXCPT */
    LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(4) LOAD(5) LOAD(6)
    "1: mov $50000, %ecx\n"
    "2: dec %ecx\n jnz 2b\n"
    CHECK(0) CHECK(1) CHECK(2) CHECK(3) CHECK(4) CHECK(5) CHECK(6)
    "out %al, $0x10\n"
    "jmp 1b\n"
    ".code64\n"
    "guest_end:\n"
    ".popsection\n");

struct vcpu {
	int number, fd;
	void *memory;
};

static void *run_vcpu(void *argument)
{
	struct vcpu *vcpu = argument;
	char name[16];

	snprintf(name, sizeof(name), "CPU %d/KVM", vcpu->number);
	prctl(PR_SET_NAME, name);
	pin(vcpu->number);
	for (uint64_t seed = 1; !counts->stop; seed++) {
		call_with_pattern(SYS_ioctl, vcpu->fd, KVM_RUN, 0, seed, &counts->vmm);
		__sync_fetch_and_add(&counts->entries, 1);
	}
	__sync_fetch_and_add(&counts->guest, *(uint32_t *)((char *)vcpu->memory + CHANGED));
	return NULL;
}

static void start_vcpu(int vm, struct vcpu *vcpu, int slot)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .guest_phys_addr = (uint64_t)slot * MEMORY, .memory_size = MEMORY,
	};
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	vcpu->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vcpu->memory == MAP_FAILED)
		die("mmap");
	memcpy((char *)vcpu->memory + CODE, guest_code, guest_end - guest_code);
	memset((char *)vcpu->memory + PATTERN, 0xa0 + slot, 7 * 16);
	region.userspace_addr = (uint64_t)vcpu->memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("KVM_SET_USER_MEMORY_REGION");
	vcpu->fd = ioctl(vm, KVM_CREATE_VCPU, slot);
	if (vcpu->fd < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		die("KVM_CREATE_VCPU");
	/* Real mode; each vCPU's memory begins where its segments do. */
	sregs.cs.base = sregs.ds.base = sregs.es.base = sregs.ss.base = slot * MEMORY;
	sregs.cs.selector = sregs.ds.selector = sregs.es.selector = sregs.ss.selector =
		slot * MEMORY >> 4;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) || ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		die("KVM_SET_REGS");
}

void run_vm(int vcpus)
{
	struct vcpu all[8];
	pthread_t threads[8];
	int kvm = open("/dev/kvm", O_RDWR), vm;

	if (kvm < 0)
		die("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		die("KVM_CREATE_VM");
	for (int i = 0; i < vcpus; i++) {
		all[i].number = i;
		start_vcpu(vm, &all[i], i);
	}
	for (int i = 0; i < vcpus; i++)
		if (pthread_create(&threads[i], NULL, run_vcpu, &all[i]))
			die("pthread_create");
	for (int i = 0; i < vcpus; i++)
		pthread_join(threads[i], NULL);
}
