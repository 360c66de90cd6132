# The test guest (README.md): $(B)/guest/testguest.elf (PVH) and $(B)/guest/testguest.bzImage, the same code.
# Included by the top Makefile; by itself: make -f tests/guest/guest.mk

B ?= build
CC ?= cc
OBJCOPY ?= objcopy

guest_dir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
guest_products := $(B)/guest/testguest.elf $(B)/guest/testguest.bzImage
guest_objs := $(patsubst $(guest_dir)/%,$(B)/guest/%.o,$(wildcard $(guest_dir)/*.c $(guest_dir)/*.S))

# Freestanding, at fixed addresses, without anything that needs a run-time environment.  The flags of the host
# programs (sanitizers, hardening) do not apply here.
GUEST_CFLAGS := -std=gnu17 -O2 -g -m64 -march=x86-64 -ffreestanding -fno-pic -fno-pie -mno-red-zone \
	-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -fno-strict-aliasing \
	-U_FORTIFY_SOURCE -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wformat=2 -Wundef
GUEST_LDFLAGS := -nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,max-page-size=4096

.PHONY: guest
guest: $(guest_products)

$(B)/guest/%.c.o: $(guest_dir)/%.c
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/guest/%.S.o: $(guest_dir)/%.S
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(guest_objs): $(guest_dir)/guest.mk

$(B)/guest/testguest.elf: $(guest_objs) $(guest_dir)/guest.lds
	$(CC) $(GUEST_LDFLAGS) -Wl,-T,$(guest_dir)/guest.lds -o $@ $(guest_objs)

# The setup sectors, then the image as it lies in memory (up to bss).
$(B)/guest/testguest.bzImage: $(B)/guest/testguest.elf
	$(OBJCOPY) -O binary -j .setup --set-section-flags .setup=alloc,load,contents $< $@.setup
	$(OBJCOPY) -O binary $< $@.image
	cat $@.setup $@.image > $@
	rm -f $@.setup $@.image

-include $(guest_objs:.o=.d)
