/* aml.h: writing ACPI's byte code: the few objects that a table of devices needs.
 *
 * Objects with a body are opened and closed like brackets; everything in between is theirs.  Names are of four
 * characters, shorter ones filled up with '_'; "\\A.B" is a path from the root.
 * Source: ACPI specification 6.4, chapters 6.4 (resource descriptors) and 20 (byte code). */
#ifndef VMM_AML_H
#define VMM_AML_H

#include "common/buf.h"
#include <stdint.h>

enum { AML_DEPTH = 8 };

struct aml {
	struct buf out;
	struct {
		size_t at; /* where the length goes in, once it is known */
		int template;
	} open[AML_DEPTH];
	unsigned depth;
};

/* Open; aml_close ends the innermost.  aml_template: a buffer of resource descriptors. */
void aml_scope(struct aml *aml, const char *path);
void aml_device(struct aml *aml, const char *name);
void aml_method(struct aml *aml, const char *name); /* without arguments */
void aml_package(struct aml *aml, uint8_t elements);
void aml_template(struct aml *aml);
void aml_close(struct aml *aml);

/* Name (name, …): one of the values below follows. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A03" */

/* In a method. */
void aml_notify(struct aml *aml, const char *path, uint8_t value);

/* In a template. */
enum aml_range { AML_IO = 1, AML_BUS = 2 };
void aml_word_range(struct aml *aml, enum aml_range type, uint16_t first, uint16_t last);
void aml_memory_range(struct aml *aml, uint32_t first, uint32_t last);
void aml_ports(struct aml *aml, uint16_t first, uint8_t count);
void aml_irq(struct aml *aml, unsigned irq);

#endif
