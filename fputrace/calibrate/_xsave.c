/*
 * What XSAVE, XSAVEC, XSAVEOPT and XRSTOR cost on this machine, in ticks of the TSC.
 *
 * All of them are unprivileged.  AMX (components 17 and 18) is left out: a task must ask for it.
 * Intel SDM 1, chapter 13; CPUID leaf 0xD.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum op { OP_NOTHING, OP_XSAVE, OP_XSAVEC, OP_XSAVEOPT, OP_XRSTOR, OP_XRSTOR_COMPACTED, OP_AGAIN, OPS };

enum { AREA = 32768, MOST = 1000000 };

#define AMX (UINT64_C(3) << 17)
#define AVX (UINT64_C(1) << 2)
#define AVX512 (UINT64_C(7) << 5)

/* Every vector register is the caller's to save, and XRSTOR writes all of them. */
#define VECTORS \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define SPLIT(mask) "a"((uint32_t)(mask)), "d"((uint32_t)((mask) >> 32))

static inline void xsave(void *area, uint64_t mask)
{
    __asm__ volatile("xsave64 (%0)" : : "r"(area), SPLIT(mask) : "memory");
}

static inline void xsavec(void *area, uint64_t mask)
{
    __asm__ volatile("xsavec64 (%0)" : : "r"(area), SPLIT(mask) : "memory");
}

static inline void xsaveopt(void *area, uint64_t mask)
{
    __asm__ volatile("xsaveopt64 (%0)" : : "r"(area), SPLIT(mask) : "memory");
}

static inline void xrstor(void *area, uint64_t mask)
{
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), SPLIT(mask) : "memory", VECTORS);
}

static inline uint64_t ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static uint64_t xgetbv(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* OSXSAVE: the kernel has switched XSAVE on and lets user space read XCR0. */
static uint64_t enabled(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)) || __get_cpuid_max(0, NULL) < 0xD)
        return 0;
    return xgetbv();
}

/* CPUID.0xD.1 EAX: bit 0 XSAVEOPT, bit 1 XSAVEC. */
static uint32_t instructions(void)
{
    uint32_t a, b, c, d;
    __cpuid_count(0xD, 1, a, b, c, d);
    return a;
}

/* Puts the components of `mask` to use, so that none is in its initial configuration. */
static inline void use(uint64_t mask)
{
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0" : : : VECTORS);
    if (mask & AVX)
        __asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0" : : : VECTORS);
    if ((mask & AVX512) == AVX512)
        __asm__ volatile("vpternlogd $0xff, %%zmm0, %%zmm0, %%zmm0\n\t"
                         "vpternlogd $0xff, %%zmm16, %%zmm16, %%zmm16\n\t"
                         "kxnorw %%k1, %%k1, %%k1"
                         : : : VECTORS);
}

static void flush(const unsigned char *area)
{
    for (int at = 0; at < AREA; at += 64)
        __asm__ volatile("clflush (%0)" : : "r"(area + at) : "memory");
    __asm__ volatile("mfence" : : : "memory");
}

static int order(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* One operation, timed; what it needs is prepared before the clock runs. */
static uint64_t once(enum op op, unsigned char *area, uint64_t mask, int cold)
{
    uint64_t begin, end;
    use(mask);
    if (op == OP_XRSTOR || op == OP_AGAIN)
        xsave(area, mask);
    else if (op == OP_XRSTOR_COMPACTED)
        xsavec(area, mask);
    if (op == OP_AGAIN)
        xrstor(area, mask);
    if (cold)
        flush(area);
    begin = ticks();
    switch (op) {
    case OP_XSAVE:
        xsave(area, mask);
        break;
    case OP_XSAVEC:
        xsavec(area, mask);
        break;
    case OP_XSAVEOPT:
    case OP_AGAIN:
        xsaveopt(area, mask);
        break;
    case OP_XRSTOR:
    case OP_XRSTOR_COMPACTED:
        xrstor(area, mask);
        break;
    default:
        break;
    }
    end = ticks();
    return end - begin;
}

static PyObject *measure(PyObject *module, PyObject *args)
{
    int op, cold;
    unsigned long long mask;
    Py_ssize_t samples;
    (void)module;
    if (!PyArg_ParseTuple(args, "iKni", &op, &mask, &samples, &cold))
        return NULL;
    uint64_t most = enabled() & ~AMX;
    uint32_t has = most ? instructions() : 0;
    if (op < 0 || op >= OPS || !most || (mask & ~most) || samples < 1 || samples > MOST ||
        ((op == OP_XSAVEC || op == OP_XRSTOR_COMPACTED) && !(has & 2)) ||
        ((op == OP_XSAVEOPT || op == OP_AGAIN) && !(has & 1))) {
        PyErr_SetString(PyExc_ValueError, "this CPU cannot do that");
        return NULL;
    }
    unsigned char *area = aligned_alloc(64, AREA), *before = aligned_alloc(64, AREA);
    uint64_t *times = malloc((size_t)samples * sizeof(*times));
    if (!area || !before || !times) {
        free(area);
        free(before);
        free(times);
        return PyErr_NoMemory();
    }
    /* The header must be zero before a first XSAVE, which leaves parts of it alone. */
    memset(area, 0, AREA);
    memset(before, 0, AREA);
    xsave(before, most);
    for (Py_ssize_t i = 0; i < samples; i++)
        times[i] = once((enum op)op, area, mask, cold);
    xrstor(before, most);
    qsort(times, (size_t)samples, sizeof(*times), order);
    uint64_t median = times[samples / 2];
    free(area);
    free(before);
    free(times);
    return PyLong_FromUnsignedLongLong(median);
}

static PyObject *tsc(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLongLong(ticks());
}

/* (XCR0 without AMX, instructions, [(component, bytes, offset, flags)], bytes in all, brand) */
static PyObject *machine(PyObject *module, PyObject *unused)
{
    uint32_t a, b, c, d, size;
    char brand[49] = "";
    (void)module;
    (void)unused;
    uint64_t most = enabled();
    if (!most)
        return Py_BuildValue("KI[]Is", 0ULL, 0u, 0u, "");
    __cpuid_count(0xD, 0, a, size, c, d);
    if (size > AREA)
        return Py_BuildValue("KI[]Is", 0ULL, 0u, 0u, "");
    PyObject *components = PyList_New(0);
    if (!components)
        return NULL;
    for (int bit = 2; bit < 63; bit++) {
        if (!(most >> bit & 1))
            continue;
        __cpuid_count(0xD, bit, a, b, c, d);
        PyObject *row = Py_BuildValue("iIII", bit, a, b, c);
        if (!row || PyList_Append(components, row)) {
            Py_XDECREF(row);
            Py_DECREF(components);
            return NULL;
        }
        Py_DECREF(row);
    }
    for (uint32_t leaf = 0; leaf < 3; leaf++) {
        uint32_t *word = (uint32_t *)(brand + 16 * leaf);
        if (!__get_cpuid(0x80000002 + leaf, word, word + 1, word + 2, word + 3))
            brand[0] = '\0';
    }
    return Py_BuildValue("KINIs", (unsigned long long)(most & ~AMX), instructions(), components,
                         size, brand);
}

#else

static PyObject *nothing(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return Py_BuildValue("KI[]Is", 0ULL, 0u, 0u, "");
}

#endif

static PyMethodDef methods[] = {
#if defined(__x86_64__) && defined(__GNUC__)
    {"machine", machine, METH_NOARGS, NULL},
    {"measure", measure, METH_VARARGS, NULL},
    {"tsc", tsc, METH_NOARGS, NULL},
#else
    {"machine", nothing, METH_NOARGS, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_xsave", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__xsave(void)
{
    return PyModule_Create(&definition);
}
