/* What PostgreSQL's headers name of GSSAPI: its pointers alone, so that no library has to be installed. */
typedef struct gss_name_struct *gss_name_t;
typedef struct gss_ctx_id_struct *gss_ctx_id_t;
typedef struct gss_cred_id_struct *gss_cred_id_t;
typedef struct { unsigned long length; void *value; } gss_buffer_desc;
