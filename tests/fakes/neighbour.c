/* SPDX-License-Identifier: Apache-2.0
 *
 * neighbour: a SPANK plugin that does to a task what pyxis does: it gives it a root of its own (in
 * a mount namespace), another working directory, variables and arguments. For plugstack before and
 * after ours.
 *
 *   --neighbour=DIR     the root is bound to DIR; below it, /mnt has the file `neighbour`
 *
 * In each task: NEIGHBOUR=here is set, NEIGHBOUR_GONE is unset, the working directory becomes /mnt,
 * and an argument `neighbour` becomes `NEIGHBOUR`. Its hooks fail, and the task with them, where
 * something is not as Slurm promises.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <slurm/spank.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

SPANK_PLUGIN(neighbour, 1)

static char root[4096];

static int on_option(int value, const char *argument, int remote) {
    (void)value;
    (void)remote;
    snprintf(root, sizeof root, "%s", argument ? argument : "");
    return 0;
}

static struct spank_option option = {"neighbour", "DIR", "Give tasks a root of their own at DIR.",
                                     1,           0,     on_option};

int slurm_spank_init(spank_t spank, int argc, char **argv) {
    (void)argc;
    (void)argv;
    return spank_option_register(spank, &option) == ESPANK_SUCCESS ? 0 : -1;
}

int slurm_spank_user_init(spank_t spank, int argc, char **argv) {
    uid_t user = 0;
    (void)argc;
    (void)argv;
    if (!root[0]) return 0;
    if (spank_get_item(spank, S_JOB_UID, &user) != ESPANK_SUCCESS) return -1;
    return geteuid() == user ? 0 : -1;
}

int slurm_spank_task_init_privileged(spank_t spank, int argc, char **argv) {
    char path[sizeof root + 32];
    int file;
    (void)spank;
    (void)argc;
    (void)argv;
    if (!root[0]) return 0;
    if (unshare(CLONE_NEWNS) < 0 || mount("", "/", "", MS_REC | MS_PRIVATE, "") < 0) return -1;
    if (mount("/", root, "", MS_BIND | MS_REC, "") < 0) return -1;
    snprintf(path, sizeof path, "%s/mnt", root);
    if (mount("neighbour", path, "tmpfs", 0, "mode=0755") < 0) return -1;
    snprintf(path, sizeof path, "%s/mnt/neighbour", root);
    if ((file = open(path, O_CREAT | O_WRONLY, 0644)) < 0) return -1;
    close(file);
    return chroot(root) < 0 || chdir("/") < 0 ? -1 : 0;
}

int slurm_spank_task_init(spank_t spank, int argc, char **argv) {
    char **words;
    int n, count = 0;
    (void)argc;
    (void)argv;
    if (!root[0]) return 0;
    if (spank_setenv(spank, "NEIGHBOUR", "here", 1) != ESPANK_SUCCESS) return -1;
    spank_unsetenv(spank, "NEIGHBOUR_GONE");
    if (spank_get_item(spank, S_JOB_ARGV, &count, &words) != ESPANK_SUCCESS) return -1;
    for (n = 1; n < count; n++)
        if (strcmp(words[n], "neighbour") == 0) words[n] = strdup("NEIGHBOUR");
    return chdir("/mnt");
}
