/* A callable around another, whose C function has a name of its own: so callgrind, which knows
   C functions only, counts what Python functions cost. Compiled by budget.py. */

#include <Python.h>
#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *function;
    vectorcallfunc vectorcall;
} Stage;

/* The empty statement keeps the call from becoming a jump, which would have no end. */
#define STAGE(number) \
    __attribute__((noinline)) static PyObject *stage_##number( \
        PyObject *self, PyObject *const *args, size_t count, PyObject *names) \
    { \
        PyObject *result = PyObject_Vectorcall(((Stage *)self)->function, args, count, names); \
        __asm__ volatile(""); \
        return result; \
    }

STAGE(0) STAGE(1) STAGE(2) STAGE(3) STAGE(4) STAGE(5) STAGE(6) STAGE(7) STAGE(8) STAGE(9)
STAGE(10) STAGE(11) STAGE(12) STAGE(13) STAGE(14) STAGE(15) STAGE(16) STAGE(17) STAGE(18)
STAGE(19) STAGE(20) STAGE(21) STAGE(22) STAGE(23) STAGE(24) STAGE(25) STAGE(26) STAGE(27)
STAGE(28) STAGE(29) STAGE(30) STAGE(31)

static const vectorcallfunc calls[] = {
    stage_0, stage_1, stage_2, stage_3, stage_4, stage_5, stage_6, stage_7, stage_8, stage_9,
    stage_10, stage_11, stage_12, stage_13, stage_14, stage_15, stage_16, stage_17, stage_18,
    stage_19, stage_20, stage_21, stage_22, stage_23, stage_24, stage_25, stage_26, stage_27,
    stage_28, stage_29, stage_30, stage_31,
};

static PyObject *stage_get(PyObject *self, PyObject *object, PyObject *type)
{
    return object == NULL ? Py_NewRef(self) : PyMethod_New(self, object);
}

static void stage_dealloc(PyObject *self)
{
    Py_DECREF(((Stage *)self)->function);
    Py_TYPE(self)->tp_free(self);
}

static PyTypeObject StageType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "stages.Stage",
    .tp_basicsize = sizeof(Stage),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_vectorcall_offset = offsetof(Stage, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_descr_get = stage_get,
    .tp_dealloc = stage_dealloc,
};

static PyObject *stage(PyObject *module, PyObject *args)
{
    unsigned int number;
    PyObject *function;
    if (!PyArg_ParseTuple(args, "IO", &number, &function))
        return NULL;
    if (number >= sizeof calls / sizeof *calls)
        return PyErr_Format(PyExc_ValueError, "no stage has the number %u", number);
    Stage *made = PyObject_New(Stage, &StageType);
    if (made == NULL)
        return NULL;
    made->function = Py_NewRef(function);
    made->vectorcall = calls[number];
    return (PyObject *)made;
}

static PyMethodDef methods[] = {
    {"stage", stage, METH_VARARGS, "A callable that is known to callgrind by its number."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "stages", NULL, -1, methods};

PyMODINIT_FUNC PyInit_stages(void)
{
    return PyType_Ready(&StageType) < 0 ? NULL : PyModule_Create(&module);
}
