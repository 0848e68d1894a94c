/* A disk that can fail, in front of one server: LD_PRELOAD puts this between SQLite and the system.
 *
 * What the server writes to its database goes to the file as always, which is what the page cache would show. Beside it, in
 * the folder TAPE_DISK, lies what is on the "disk": bytes get there when a sync succeeds, and only those that were written
 * since the one before. A sync that fails drops what it should have brought there, as Linux does: its pages are clean
 * afterwards, and no later sync writes them. So the folder is what a loss of power leaves.
 *
 * The file TAPE_DISK/fails says which syncs fail: "wal", "db", or both; "write" = every write to either fails. For each failure
 * a byte is appended to TAPE_DISK/failures.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS = 4096, DB = 1, WAL = 2, KINDS = 3 };

struct change {
    off_t at;
    size_t length; /* 0 = cut off at `at` */
    struct change *next;
};

static int kind_of[FDS];
static struct change *first[KINDS], **end[KINDS] = {&first[0], &first[1], &first[2]};
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static const char *folder(void) {
    const char *named = getenv("TAPE_DISK");
    return named ? named : "/nowhere";
}

static int kind(const char *path) {
    const char *dot = path ? strstr(path, "tape.db") : NULL;
    if (!dot) return 0;
    if (!strcmp(dot, "tape.db")) return DB;
    return !strcmp(dot, "tape.db-wal") ? WAL : 0;
}

static int of(int fd) { return fd >= 0 && fd < FDS ? kind_of[fd] : 0; }

static int plain_open(const char *path, int flags) {
    REAL(open);
    return real(path, flags | O_CLOEXEC, 0644);
}

/* Whether a sync of this kind, or a write (kind 0), is to fail now; counts it if it does. */
static int fails(int which) {
    char path[512], said[32] = {0};
    snprintf(path, sizeof path, "%s/fails", folder());
    int fd = plain_open(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t length = read(fd, said, sizeof said - 1);
    close(fd);
    const char *word = which == WAL ? "wal" : which == DB ? "db" : "write";
    if (length <= 0 || !strstr(said, word)) return 0;
    snprintf(path, sizeof path, "%s/failures", folder());
    fd = plain_open(path, O_WRONLY | O_CREAT | O_APPEND);
    if (fd >= 0) {
        REAL(write);
        if (real(fd, "x", 1) != 1) abort();
        close(fd);
    }
    return 1;
}

static void changed(int which, off_t at, size_t length) {
    struct change *change = malloc(sizeof *change);
    if (!change) abort();
    *change = (struct change){at, length, NULL};
    *end[which] = change;
    end[which] = &change->next;
}

static void dropped(int which) {
    while (first[which]) {
        struct change *change = first[which];
        first[which] = change->next;
        free(change);
    }
    end[which] = &first[which];
}

static void shadow(int which, char *path, size_t size) {
    snprintf(path, size, "%s/tape.db%s", folder(), which == WAL ? "-wal" : "");
}

/* Brings what was written since the last sync to the disk. */
static void synced(int which, int fd) {
    REAL(pwrite);
    char path[512];
    shadow(which, path, sizeof path);
    int disk = plain_open(path, O_RDWR | O_CREAT);
    if (disk < 0) abort();
    for (struct change *change = first[which]; change; change = change->next) {
        if (change->length == 0) {
            if (ftruncate(disk, change->at)) abort();
            continue;
        }
        char *bytes = malloc(change->length);
        ssize_t there = bytes ? pread(fd, bytes, change->length, change->at) : -1;
        if (there > 0 && real(disk, bytes, (size_t)there, change->at) != there) abort();
        free(bytes);
    }
    close(disk);
    dropped(which);
}

static int sync_of(int fd) {
    int which = of(fd), failed = 0;
    if (!which) return 0;
    pthread_mutex_lock(&turn);
    if (fails(which)) {
        dropped(which);
        failed = -1;
    } else {
        synced(which, fd);
    }
    pthread_mutex_unlock(&turn);
    if (failed) errno = EIO;
    return failed;
}

int fsync(int fd) { REAL(fsync); return of(fd) ? sync_of(fd) : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return of(fd) ? sync_of(fd) : real(fd); }

static ssize_t written(int fd, const void *bytes, size_t length, off_t at, ssize_t (*real)(int, const void *, size_t, off_t)) {
    int which = of(fd);
    if (!which) return real(fd, bytes, length, at);
    pthread_mutex_lock(&turn);
    ssize_t done = -1;
    int failed = fails(0);
    if (!failed) {
        done = real(fd, bytes, length, at);
        if (done > 0) changed(which, at, (size_t)done);
    }
    pthread_mutex_unlock(&turn);
    if (failed) errno = EIO;
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { REAL(pwrite); return written(fd, bytes, length, at, real); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { REAL(pwrite64); return written(fd, bytes, length, at, real); }

static int cut(int fd, off_t at, int (*real)(int, off_t)) {
    int which = of(fd);
    if (!which) return real(fd, at);
    pthread_mutex_lock(&turn);
    int done = real(fd, at);
    if (!done) changed(which, at, 0);
    pthread_mutex_unlock(&turn);
    return done;
}

int ftruncate(int fd, off_t at) { REAL(ftruncate); return cut(fd, at, real); }
int ftruncate64(int fd, off64_t at) { REAL(ftruncate64); return cut(fd, at, real); }

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < FDS) kind_of[fd] = kind(path);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { REAL(open); MODE(flags); return opened(real(path, flags, mode), path); }
int open64(const char *path, int flags, ...) { REAL(open64); MODE(flags); return opened(real(path, flags, mode), path); }
int openat(int at, const char *path, int flags, ...) { REAL(openat); MODE(flags); return opened(real(at, path, flags, mode), path); }
int openat64(int at, const char *path, int flags, ...) { REAL(openat64); MODE(flags); return opened(real(at, path, flags, mode), path); }

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < FDS) kind_of[fd] = 0;
    return real(fd);
}

int unlink(const char *path) {
    REAL(unlink);
    int which = kind(path);
    if (which) {
        char disk[512];
        shadow(which, disk, sizeof disk);
        pthread_mutex_lock(&turn);
        dropped(which);
        if (strcmp(disk, path)) real(disk);
        pthread_mutex_unlock(&turn);
    }
    return real(path);
}
