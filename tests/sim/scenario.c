#include "world.h"
bool scenario_run(const char *name, FILE *out)
{
        (void)name;
        (void)out;
        return false;
}
const char *scenario_name(unsigned index)
{
        (void)index;
        return NULL;
}
