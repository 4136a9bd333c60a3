/* AES through AF_ALG: the kernel encrypts in this task's context, inside kernel_fpu_begin(). */
#define _GNU_SOURCE
#include "workload.h"

#include <linux/if_alg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SOL_ALG
#define SOL_ALG 279
#endif

void run_kernel_user(void)
{
	struct sockaddr_alg address = {
		.salg_family = AF_ALG, .salg_type = "skcipher", .salg_name = "cbc(aes)",
	};
	static char data[4096], key[16];
	char control[CMSG_SPACE(4) + CMSG_SPACE(4 + 16)];
	struct iovec part = { data, sizeof(data) };
	int alg = socket(AF_ALG, SOCK_SEQPACKET, 0), fd;

	prctl(PR_SET_NAME, "kfpuload");
	pin(1);
	if (alg < 0 || bind(alg, (struct sockaddr *)&address, sizeof(address)) ||
	    setsockopt(alg, SOL_ALG, ALG_SET_KEY, key, sizeof(key)))
		die("AF_ALG");
	fd = accept(alg, NULL, 0);
	if (fd < 0)
		die("accept");
	for (uint64_t seed = 1; !counts->stop; seed++) {
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
					  .msg_controllen = sizeof(control) };
		struct cmsghdr *header;

		memset(control, 0, sizeof(control));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_ALG;
		header->cmsg_type = ALG_SET_OP;
		header->cmsg_len = CMSG_LEN(4);
		*(uint32_t *)CMSG_DATA(header) = ALG_OP_ENCRYPT;
		header = CMSG_NXTHDR(&message, header);
		header->cmsg_level = SOL_ALG;
		header->cmsg_type = ALG_SET_IV;
		header->cmsg_len = CMSG_LEN(4 + 16);
		((struct af_alg_iv *)CMSG_DATA(header))->ivlen = 16;
		if (sendmsg(fd, &message, 0) != sizeof(data))
			die("sendmsg");
		if (call_with_pattern(SYS_read, fd, (long)data, sizeof(data), seed,
				      &counts->kernel_user) != sizeof(data))
			die("read");
		counts->kernel_rounds++;
		usleep(500);
	}
}
