/* SPDX-License-Identifier: MIT
 *
 * device.c -- a device that makes and destroys extents when it likes: late, in any order, and not always. It counts its
 * pages itself and never hands out more than it has.
 */
#include <errno.h>

#include "list.h"
#include "world.h"

void device_take(struct world *world, const struct core_action *action)
{
        struct fake_device *device = &world->device;
        struct device_operation *operation;

        if (action->type != CORE_ACT_CREATE && action->type != CORE_ACT_DESTROY)
                return;
        operation = LIST_PUSH(device, operations);
        operation->extent = action->device.extent;
        operation->device = action->device.device;
        operation->order = action->device.order;
        operation->creates = action->type == CORE_ACT_CREATE;
}

static bool fails_now(struct fake_device *device)
{
        if (device->fail_after > 0) {
                device->fail_after--;
                return false;
        }
        if (device->fail_for == 0)
                return false;
        if (device->fail_for != UINT32_MAX)
                device->fail_for--;
        return true;
}

static int device_execute(struct world *world, const struct device_operation *operation)
{
        struct fake_device *device = &world->device;
        uint32_t pages = 1u << operation->order, d = operation->device;

        if (fails_now(device))
                return operation->creates ? -ENOMEM : -EIO;
        if (!operation->creates) {
                device->used[d] -= pages;
                return 0;
        }
        if (device->used[d] + pages > world->model.devices[d].pages)
                world_fail(world, "the device is asked for more than it has");
        if (device->used[d] + device->stolen[d] + pages > world->model.devices[d].pages)
                return -ENOMEM;
        device->used[d] += pages;
        return 0;
}

void device_answer(struct world *world, uint32_t at)
{
        struct device_operation operation = world->device.operations[at];
        struct core_event event;

        LIST_REMOVE(&world->device, operations, &world->device.operations[at]);
        world_event(world, &event, operation.creates ? CORE_EV_CREATED : CORE_EV_DESTROYED);
        event.created.extent = operation.extent;
        event.created.status = device_execute(world, &operation);
        world_apply(world, &event);
}

void device_answer_any(struct world *world)
{
        if (world->device.n_operations > 0)
                device_answer(world,
                              world->device.in_order ? 0 : random_below(&world->random, world->device.n_operations));
}

void device_answer_all(struct world *world)
{
        for (unsigned i = 0; world->device.n_operations > 0; i++) {
                if (i > 100000)
                        world_fail(world, "the device is never done");
                device_answer(world, 0);
        }
}

void device_heal(struct world *world)
{
        world->device.fail_after = world->device.fail_for = 0;
        for (unsigned d = 0; d < CORE_MAX_DEVICES; d++)
                world->device.stolen[d] = 0;
        for (uint32_t d = 0; d < world->model.n_devices; d++)
                if (world->model.devices[d].missing > 0) {
                        struct core_event event;

                        world_event(world, &event, CORE_EV_DEVICE_MISSING);
                        event.device_missing.device = d;
                        world_apply(world, &event);
                }
}
