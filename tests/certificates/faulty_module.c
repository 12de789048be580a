/* A PKCS#11 module that passes everything on to SoftHSM but one function: that never answers, or lies.
 *
 * SOFTHSM names the module of SoftHSM, FAULT is "hangs", "lies" or "nothing", and FUNCTION is the place of the function
 * in the CK_FUNCTION_LIST of PKCS #11 v2.40, which is a version and 68 pointers. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct list {
    unsigned char version[2];
    void *function[68];
};

typedef unsigned long (*get_list)(struct list **);

static struct list functions;

static unsigned long hang(void) {
    while (pause())
        ;
    return 0;
}

/* As C_FindObjects: finds the first object again and again. */
static unsigned long find(unsigned long session, unsigned long *objects, unsigned long most, unsigned long *found) {
    static unsigned long (*real)(unsigned long, unsigned long *, unsigned long, unsigned long *);
    static unsigned long first;
    if (!first) {
        struct list *those;
        ((get_list)dlsym(dlopen(getenv("SOFTHSM"), RTLD_NOW), "C_GetFunctionList"))(&those);
        memcpy(&real, &those->function[27], sizeof real);
        real(session, &first, 1, found);
    }
    for (*found = 0; *found < most; ++*found)
        objects[*found] = first;
    return 0;
}

unsigned long C_GetFunctionList(struct list **given) {
    struct list *those;
    void *softhsm = dlopen(getenv("SOFTHSM"), RTLD_NOW);
    ((get_list)dlsym(softhsm, "C_GetFunctionList"))(&those);
    functions = *those;
    void **place = &functions.function[atoi(getenv("FUNCTION"))];
    if (!strcmp(getenv("FAULT"), "hangs"))
        *place = (void *)hang;
    else if (!strcmp(getenv("FAULT"), "lies"))
        *place = (void *)find;
    *given = &functions;
    return 0;
}
